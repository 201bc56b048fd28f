"""
Where to, and as whom: settings and tokens.

`search` puts together what the user says and where; `settings` holds the target and looks variables up; `credentials`
keep a token and put it on requests; `provider` and `login` get one, as a client and as a person; `hidden` is what every
secret is wrapped in.
"""

from callframe.auth.credentials import BearerAuth, Credentials, StaticToken, TokenFunction, bearer
from callframe.auth.hidden import Secret, hide
from callframe.auth.search import Login, find
from callframe.auth.settings import Target

__all__ = [
    "BearerAuth",
    "Credentials",
    "Login",
    "Secret",
    "StaticToken",
    "Target",
    "TokenFunction",
    "bearer",
    "find",
    "hide",
]
