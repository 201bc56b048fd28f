# The public names. They are imported when they are first used.

from . import plot as plot
from .analysis.changes import changes as changes
from .analysis.comparison import compare as compare
from .analysis.concurrency import concurrency as concurrency
from .analysis.concurrency import concurrency_peaks as concurrency_peaks
from .analysis.concurrency import overlapping_runs as overlapping_runs
from .analysis.contrast import contrast as contrast
from .analysis.failures import failure_episodes as failure_episodes
from .analysis.failures import failure_groups as failure_groups
from .analysis.failures import failures as failures
from .analysis.findings import findings as findings
from .analysis.incidents import incidents as incidents
from .analysis.kaplan_meier import survival as survival
from .analysis.quality import quality as quality
from .analysis.responses import reports_failure as reports_failure
from .analysis.responses import with_responses as with_responses
from .analysis.rollup import merge_rollups as merge_rollups
from .analysis.rollup import rollup as rollup
from .analysis.rollup import summarize_rollup as summarize_rollup
from .analysis.schedules import duplicate_runs as duplicate_runs
from .analysis.schedules import missed_runs as missed_runs
from .analysis.schedules import schedule_report as schedule_report
from .analysis.summary import summarize as summarize
from .archive import Archive as Archive
from .archive import SyncReport as SyncReport
from .completeness import coverage as coverage
from .completeness import is_complete as is_complete
from .csv_parquet import read_csv as read_csv
from .csv_parquet import read_parquet as read_parquet
from .csv_parquet import write_csv as write_csv
from .csv_parquet import write_parquet as write_parquet
from .dashboard import explore as explore
from .errors import CallframeError as CallframeError
from .errors import ClockWarning as ClockWarning
from .errors import IncompleteWarning as IncompleteWarning
from .errors import RecordWarning as RecordWarning
from .http.retry import Retry as Retry
from .project import Project as Project
from .project import connect as connect
from .reporting import report as report
from .reporting.notebook import style as style
from .sample import demo as demo

__all__: list[str]
__version__: str
