"""The functions of the made-up project: their names, loads and habits."""

from __future__ import annotations

from dataclasses import dataclass, replace

SITES = ("north", "south", "harbour", "plant 2", "plant 3")


@dataclass(frozen=True)
class FunctionSpec:
    """
    One function of the made-up project, whatever its deployments.

    Parameters
    ----------
    name, external_id, description, owner
        Fields of the function record; an `external_id` of None is left out.
    periods
        Minutes between the runs of each of its schedules: divisors of a day.
    unscheduled
        Share of the 150,000 calls of an ordinary fortnight that no schedule starts.
    median_s, spread
        Of the log-normal duration.
    failure_rate
        Share of calls that fail on an ordinary day.
    causes
        Names of the reasons in `failures` why they do.
    fragile
        Whether it fails in the outage.
    runtime, cpu, memory
        Of the function record.
    schedules_by_external_id
        Whether its schedules name it by its external id, in the deprecated way.
    errors_are_strings
        Whether its errors come as plain text.
    redeployed
        Whether it was redeployed within the history.
    idle
        Whether it was never called.
    """

    name: str
    external_id: str | None
    description: str
    owner: str = "data-platform@example.com"
    periods: tuple[int, ...] = ()
    unscheduled: int = 0
    median_s: float = 12.0
    spread: float = 0.5
    failure_rate: float = 0.01
    causes: tuple[str, ...] = ("read_timeout", "cognite_unavailable")
    fragile: bool = True
    cpu: float = 0.25
    memory: float = 1.0
    runtime: str = "py311"
    idle: bool = False
    redeployed: bool = False
    errors_are_strings: bool = False
    schedules_by_external_id: bool = False


FUNCTION_SPECS = (
    FunctionSpec(
        "Monitor compressor vibration",
        "monitor-compressor-vibration",
        "Compares vibration spectra of the compressors with their limits and raises events",
        periods=(1, 1, 1),
        median_s=14,
        failure_rate=0.008,
        causes=("missing_sensor", "read_timeout", "cognite_unavailable"),
    ),
    FunctionSpec(
        "Ingest SAP orders",
        "ingest-sap-orders",
        "Copies new and changed work orders from SAP into CDF",
        periods=(5,),
        median_s=38,
        spread=0.45,
        failure_rate=0.02,
        causes=("connection_refused", "read_timeout", "bad_json", "duplicated_ids"),
        redeployed=True,
        memory=2.0,
    ),
    FunctionSpec(
        "Train anomaly models",
        "train-anomaly-models",
        "Fits the anomaly models of each line anew",
        owner="data-science@example.com",
        periods=(30,),
        median_s=300,
        spread=0.493,  # puts 8 % of the runs beyond the run limit of 600 s
        failure_rate=0.02,
        causes=("memory", "ragged_frame", "missing_sensor"),
        fragile=False,
        cpu=1.0,
        memory=5.0,
    ),
    FunctionSpec(
        "Render P&ID diagrams",
        "render-pid-diagrams",
        "Finds the tags in uploaded diagrams; started by a workflow for each batch",
        owner="documents@example.com",
        unscheduled=17_000,
        median_s=22,
        spread=0.7,
        failure_rate=0.025,
        causes=("broken_file", "memory", "cognite_bad_request"),
        memory=2.5,
        runtime="py312",
    ),
    FunctionSpec(
        "Forward alarms",
        "forward-alarms",
        "Sends new alarms to the control room's ticket system",
        owner="operations@example.com",
        periods=(1,),
        median_s=4,
        failure_rate=0.006,
        causes=("bad_json", "connection_refused", "read_timeout"),
        errors_are_strings=True,
        memory=0.5,
    ),
    FunctionSpec(
        "cleanup temp files",
        None,
        "Deletes files nobody has asked for in 30 days",
        owner="",
        periods=(60,),
        median_s=45,
        spread=0.8,
        failure_rate=0.015,
        causes=("cognite_unavailable", "missing_key"),
    ),
    FunctionSpec(
        "Backfill historian (do not run)",
        "backfill-historian",
        "One-off backfill of 2023",
        owner="contractor@example.com",
        idle=True,
    ),
    FunctionSpec(
        "Calculate pump efficiency",
        "calculate-pump-efficiency",
        "Efficiency of each pump against its curve",
        owner="data-science@example.com",
        periods=(1,),
        median_s=9,
        failure_rate=0.012,
        causes=("division", "missing_sensor", "ragged_frame"),
    ),
    FunctionSpec(
        "Sync asset hierarchy",
        "sync-asset-hierarchy",
        "Mirrors the functional locations of SAP as assets",
        periods=(60,),
        unscheduled=60,
        median_s=120,
        spread=0.4,
        failure_rate=0.03,
        causes=("duplicated_ids", "connection_refused", "cognite_bad_request"),
        schedules_by_external_id=True,
        memory=2.0,
    ),
    FunctionSpec(
        "Contextualize tags",
        "contextualize-tags",
        "Matches new time series with assets",
        owner="data-science@example.com",
        periods=(120,),
        unscheduled=40,
        median_s=210,
        spread=0.73,  # the other function that meets the run limit
        failure_rate=0.02,
        causes=("memory", "cognite_unavailable"),
        fragile=False,
        cpu=1.0,
        memory=4.0,
    ),
    FunctionSpec(
        "Ingest weather forecast",
        "ingest-weather-forecast",
        "Reads the forecast of the met office",
        periods=(15, 360),
        median_s=6,
        failure_rate=0.02,
        causes=("read_timeout", "bad_json"),
        memory=0.5,
        runtime="py312",
    ),
    FunctionSpec(
        "Report daily production",
        "report-daily-production",
        "Mails the production report of the day before",
        owner="operations@example.com",
        periods=(1440,),
        unscheduled=4,
        median_s=95,
        spread=0.3,
        failure_rate=0.05,
        causes=("missing_key", "ragged_frame"),
        fragile=False,
    ),
    FunctionSpec(
        "Check data quality",
        "check-data-quality",
        "Looks for gaps and frozen values in the time series of each site",
        periods=(2, 10),
        median_s=17,
        failure_rate=0.01,
        causes=("missing_sensor", "cognite_unavailable"),
    ),
    FunctionSpec(
        "Predict filter clogging",
        "predict-filter-clogging",
        "Remaining days of each filter",
        owner="data-science@example.com",
        periods=(10,),
        median_s=31,
        failure_rate=0.015,
        causes=("ragged_frame", "missing_sensor", "memory"),
        memory=2.5,
        schedules_by_external_id=True,
    ),
    FunctionSpec(
        "Archive events",
        "archive-events",
        "Moves old events to the data lake",
        periods=(1440,),
        median_s=180,
        spread=0.35,
        failure_rate=0.04,
        causes=("database", "cognite_unavailable"),
    ),
    FunctionSpec(
        "Update energy dashboard",
        "update-energy-dashboard",
        "Sums for the energy dashboard",
        owner="operations@example.com",
        periods=(5, 15),
        median_s=11,
        failure_rate=0.008,
        causes=("division", "database"),
        memory=0.5,
    ),
    FunctionSpec(
        "Ingest laboratory results",
        "ingest-laboratory-results",
        "Reads the LIMS database",
        owner="laboratory@example.com",
        periods=(10, 240),
        median_s=15,
        failure_rate=0.015,
        causes=("database", "missing_key"),
    ),
    FunctionSpec(
        "Resample sensor data",
        "resample-sensor-data",
        "Writes minute means of fast sensors",
        periods=(5,),
        median_s=52,
        spread=0.35,
        failure_rate=0.006,
        causes=("memory", "cognite_unavailable"),
        memory=2.5,
    ),
    FunctionSpec(
        "Refresh maintenance plan",
        "refresh-maintenance-plan",
        "Orders open work by risk",
        periods=(1440, 720),
        median_s=140,
        spread=0.4,
        failure_rate=0.03,
        causes=("missing_key", "connection_refused"),
        runtime="py312",
    ),
)


def jobs(number: int) -> list[FunctionSpec]:
    """
    Choose the functions of a project of a given size.

    From 4 records on, one function has two: its old deployment is still listed. Beyond the catalogue, jobs come
    again for other sites.

    Parameters
    ----------
    number
        Of records that the project lists.

    Returns
    -------
    jobs
        The functions, whatever their deployments.
    """
    wanted = number - 1 if number >= 4 else number  # noqa: PLR2004
    chosen = list(FUNCTION_SPECS[:wanted])
    if number < 4:  # noqa: PLR2004
        chosen = [replace(job, redeployed=False) for job in chosen]
    ordinary = [job for job in FUNCTION_SPECS if not (job.idle or job.redeployed or job.external_id is None)]
    for extra in range(wanted - len(chosen)):
        job, site = ordinary[extra % len(ordinary)], SITES[extra // len(ordinary)]
        suffix = site.replace(" ", "-")
        chosen.append(
            replace(job, name=f"{job.name} ({site})", external_id=f"{job.external_id}-{suffix}"),
        )
    return chosen
