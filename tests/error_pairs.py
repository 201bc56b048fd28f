"""Pairs of errors that people tell apart, and pairs that people call the same, as libraries word them."""

# ruff: noqa: E501 - the errors are long

from __future__ import annotations

import hashlib

CONNECTION = "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='sap.example.com', port=443): Max retries exceeded with url: "
CAUSED = "(Caused by NewConnectionError('<urllib3.connection.HTTPSConnection object at 0x7f01ab>: "
OAUTH = "oauthlib.oauth2.rfc6749.errors.CustomOAuth2Error: "
ODBC = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
CONFIG = "pydantic_core._pydantic_core.ValidationError: 1 validation error for Config\n"
CONFIGS = "pydantic_core._pydantic_core.ValidationError: {} validation errors for Config\n"
REQUIRED = "\n  Field required [type=missing, input_value={{'a': {}}}, input_type=dict]"
RPC = 'grpc._channel._InactiveRpcError: <_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.{}\n\tdetails = "{}"\n>'

Pair = tuple[str, str]

LISTED_APART: list[Pair] = [
    ("pymysql.err.OperationalError: (1045, \"Access denied for user 'etl'@'10.0.0.4' (using password: YES)\")", "pymysql.err.OperationalError: (2003, \"Can't connect to MySQL server on 'db.example.com' (timed out)\")"),
    ("RuntimeError: request failed: {'code': 403}", "RuntimeError: request failed: {'code': 500}"),
    ("RuntimeError: token: {'error': 'invalid_grant'}", "RuntimeError: token: {'error': 'invalid_client'}"),
    ("RuntimeError: no token: 'invalid_grant'", "RuntimeError: no token: 'invalid_client'"),
    ("RuntimeError: sap returned 502", "RuntimeError: sap returned 401"),
    ("OSError: [WinError 10060] A connection attempt failed", "OSError: [WinError 10061] A connection attempt failed"),
    ("PlantError: E1001", "PlantError: E2044"),
    ("PlantError: E1001: step failed", "PlantError: E2044: step failed"),
    (CONFIG + "site" + REQUIRED.format(1), CONFIG + "limit" + REQUIRED.format(1)),
    (CONFIG + "limit" + REQUIRED.format(1), CONFIG + "limit\n  Input should be a valid number [type=float_parsing, input_value='x', input_type=str]"),
]  # fmt: skip

LISTED_TOGETHER: list[Pair] = [
    ("RuntimeError: gave up after 1 attempt", "RuntimeError: gave up after 3 attempts"),
    ("RuntimeError: no answer within 30 s", "RuntimeError: no answer within 2 min"),
    ("RuntimeError: no answer within 30 seconds", "RuntimeError: no answer within 1 minute"),
    (CONNECTION + "/ " + CAUSED + "[Errno 111] Connection refused'))", CONNECTION + "/x " + CAUSED + "[Errno 111] Connection refused'))"),
    ("ValueError: no value for tag PUMP_NORTH.PV", "ValueError: no value for tag VALVE_SOUTH_A.SP"),
]  # fmt: skip

APART: list[Pair] = [
    ("pymysql.err.OperationalError: (1205, 'Lock wait timeout exceeded; try restarting transaction')", "pymysql.err.OperationalError: (1213, 'Deadlock found when trying to get lock; try restarting transaction')"),
    ("pymysql.err.OperationalError: (2006, \"MySQL server has gone away (BrokenPipeError(32, 'Broken pipe'))\")", "pymysql.err.OperationalError: (2013, 'Lost connection to MySQL server during query')"),
    ("sqlalchemy.exc.OperationalError: (pymysql.err.OperationalError) (1045, \"Access denied for user 'etl'@'10.0.0.4' (using password: YES)\")\n(Background on this error at: https://sqlalche.me/e/20/e3q8)", "sqlalchemy.exc.OperationalError: (pymysql.err.OperationalError) (1049, \"Unknown database 'plant'\")\n(Background on this error at: https://sqlalche.me/e/20/e3q8)"),
    (f"pyodbc.InterfaceError: ('28000', \"[28000] {ODBC}Login failed for user 'etl'. (18456) (SQLDriverConnect)\")", f"pyodbc.InterfaceError: ('08001', '[08001] {ODBC}TCP Provider: Error code 0x2746 (10054) (SQLDriverConnect)')"),
    (f"pyodbc.ProgrammingError: ('42S02', \"[42S02] {ODBC}Invalid object name 'dbo.orders'. (208) (SQLExecDirectW)\")", f"pyodbc.ProgrammingError: ('42S22', \"[42S22] {ODBC}Invalid column name 'plant'. (207) (SQLExecDirectW)\")"),
    ("oracledb.exceptions.DatabaseError: ORA-01017: invalid username/password; logon denied", "oracledb.exceptions.DatabaseError: ORA-28001: the password has expired"),
    ("snowflake.connector.errors.ProgrammingError: 002003 (42S02): 01b2-0: SQL compilation error:\nObject 'ORDERS' does not exist or not authorized.", "snowflake.connector.errors.ProgrammingError: 001003 (42000): 01b2-1: SQL compilation error:\nsyntax error line 1 at position 0 unexpected 'selekt'."),
    ("requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://sap.example.com/a", "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://sap.example.com/a"),
    ("httpx.HTTPStatusError: Client error '401 Unauthorized' for url 'https://sap.example.com/a'", "httpx.HTTPStatusError: Client error '404 Not Found' for url 'https://sap.example.com/b'"),
    ("httpx.HTTPStatusError: Server error '500 Internal Server Error' for url 'https://sap.example.com/a'", "httpx.HTTPStatusError: Server error '504 Gateway Timeout' for url 'https://sap.example.com/a'"),
    ("urllib.error.HTTPError: HTTP Error 403: Forbidden", "urllib.error.HTTPError: HTTP Error 503: Service Unavailable"),
    ("aiohttp.client_exceptions.ClientResponseError: 401, message='Unauthorized', url='https://sap.example.com/a'", "aiohttp.client_exceptions.ClientResponseError: 502, message='Bad Gateway', url='https://sap.example.com/a'"),
    ("RuntimeError: unexpected response <Response [404]>", "RuntimeError: unexpected response <Response [500]>"),
    ("RuntimeError: SAP responded with 400 for order 4711", "RuntimeError: SAP responded with 503 for order 4711"),
    ("RuntimeError: Request failed with status code 413", "RuntimeError: Request failed with status code 504"),
    ('googleapiclient.errors.HttpError: <HttpError 403 when requesting https://www.example.com/a returned "The caller does not have permission">', 'googleapiclient.errors.HttpError: <HttpError 404 when requesting https://www.example.com/a returned "File not found">'),
    ("simple_salesforce.exceptions.SalesforceExpiredSession: Expired session for https://a.example.com. Response content: [{'message': 'Session expired or invalid', 'errorCode': 'INVALID_SESSION_ID'}]", "simple_salesforce.exceptions.SalesforceExpiredSession: Expired session for https://a.example.com. Response content: [{'message': 'API disabled', 'errorCode': 'API_DISABLED_FOR_ORG'}]"),
    ('RuntimeError: {"error": {"code": 400, "message": "Invalid aggregate"}}', 'RuntimeError: {"error": {"code": 503, "message": "Service unavailable"}}'),
    ("RuntimeError: answer {'status': 'error', 'statusCode': 401}", "RuntimeError: answer {'status': 'error', 'statusCode': 500}"),
    ('ValueError: token request failed: {"error":"invalid_scope","error_description":"AADSTS70011: The provided value for scope is not valid."}', 'ValueError: token request failed: {"error":"unauthorized_client","error_description":"AADSTS700016: Application was not found."}'),
    (f"{OAUTH}(invalid_resource) AADSTS500011: The resource principal named api://a was not found", f"{OAUTH}(invalid_request) AADSTS90002: Tenant 'a' not found"),
    ("botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the PutObject operation: Access Denied", "botocore.exceptions.ClientError: An error occurred (SlowDown) when calling the PutObject operation: Please reduce your request rate."),
    ("botocore.exceptions.ClientError: An error occurred (403) when calling the HeadObject operation: Forbidden", "botocore.exceptions.ClientError: An error occurred (404) when calling the HeadObject operation: Not Found"),
    ("OSError: [Errno 28] No space left on device", "OSError: [Errno 122] Disk quota exceeded"),
    ("OSError: [WinError 64] The specified network name is no longer available", "OSError: [WinError 1231] The network location cannot be reached"),
    ("PermissionError: [WinError 5] Access is denied: 'C:\\\\in\\\\a.csv'", "PermissionError: [WinError 32] The process cannot access the file because it is being used by another process: 'C:\\\\in\\\\a.csv'"),
    ("pywintypes.com_error: (-2147352567, 'Exception occurred.', (0, None, None, None, 0, -2147467259), None)", "pywintypes.com_error: (-2147221005, 'Invalid class string', None, None)"),
    ("RuntimeError: COM call failed with 0x80070005", "RuntimeError: COM call failed with 0x80004005"),
    ("requests.exceptions.ConnectionError: ('Connection aborted.', OSError(113, 'No route to host'))", "requests.exceptions.ConnectionError: ('Connection aborted.', OSError(101, 'Network is unreachable'))"),
    ("requests.exceptions.ConnectionError: ('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))", "requests.exceptions.ConnectionError: ('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))"),
    (CONNECTION + "/a " + CAUSED + "[Errno 111] Connection refused'))", CONNECTION + "/a " + CAUSED + "[Errno -2] Name or service not known'))"),
    ("subprocess.CalledProcessError: Command '['convert', 'a.pdf']' returned non-zero exit status 1.", "subprocess.CalledProcessError: Command '['convert', 'a.pdf']' returned non-zero exit status 137."),
    ("subprocess.CalledProcessError: Command '['solve']' died with <Signals.SIGKILL: 9>.", "subprocess.CalledProcessError: Command '['solve']' died with <Signals.SIGSEGV: 11>."),
    ("RuntimeError: worker exited with code -9", "RuntimeError: worker exited with code -11"),
    ("smtplib.SMTPAuthenticationError: (535, b'5.7.8 Authentication credentials invalid')", "smtplib.SMTPAuthenticationError: (534, b'5.7.9 Application-specific password required')"),
    ("ftplib.error_perm: 530 Login incorrect.", "ftplib.error_perm: 550 File not found."),
    ("ldap3.core.exceptions.LDAPBindError: automatic bind not successful - invalidCredentials, error code 49", "ldap3.core.exceptions.LDAPBindError: automatic bind not successful - busy, error code 51"),
    ("redis.exceptions.ConnectionError: Error 111 connecting to cache:6379. Connection refused.", "redis.exceptions.ConnectionError: Error 104 connecting to cache:6379. Connection reset by peer."),
    (RPC.format("UNAVAILABLE", "failed to connect"), RPC.format("PERMISSION_DENIED", "no access")),
    ("kafka.errors.KafkaError: [Error 29] TopicAuthorizationFailedError", "kafka.errors.KafkaError: [Error 3] UnknownTopicOrPartitionError"),
    ("cx.CoolantError: [E4102] coolant", "cx.CoolantError: [E4107] coolant"),
    ("pyrfc._exception.ABAPApplicationError: RFC_ABAP_EXCEPTION (rc=5): key=NOT_FOUND, message=ID:F2 Type:E Number:204 Order [MSG: class=F2, type=E, number=204, v1-4:=;;;]", "pyrfc._exception.ABAPApplicationError: RFC_ABAP_EXCEPTION (rc=5): key=NO_AUTHORITY, message=ID:F2 Type:E Number:101 Order [MSG: class=F2, type=E, number=101, v1-4:=;;;]"),
    ("asyncua.ua.uaerrors._auto.BadNodeIdUnknown: The node id refers to a node that does not exist in the server address space.(BadNodeIdUnknown)", "asyncua.ua.uaerrors._auto.BadUserAccessDenied: User does not have permission to perform the requested operation.(BadUserAccessDenied)"),
    (CONFIG + "rows.3.site" + REQUIRED.format(1), CONFIG + "rows.3.unit" + REQUIRED.format(1)),
    ("pydantic.error_wrappers.ValidationError: 1 validation error for Config\nsite\n  field required (type=value_error.missing)", "pydantic.error_wrappers.ValidationError: 1 validation error for Config\nlimit\n  value is not a valid integer (type=type_error.integer)"),
    ("jsonschema.exceptions.ValidationError: 'site' is a required property\n\nFailed validating 'required' in schema", "jsonschema.exceptions.ValidationError: 'site' is not of type 'number'\n\nFailed validating 'type' in schema"),
    ("azure.core.exceptions.HttpResponseError: (AuthorizationFailed) The client 'a' does not have authorization to perform action 'b'", "azure.core.exceptions.HttpResponseError: (QuotaExceeded) Operation could not be completed"),
    ("azure.core.exceptions.HttpResponseError: Operation returned an invalid status 'Bad Request'", "azure.core.exceptions.HttpResponseError: Operation returned an invalid status 'Too Many Requests'"),
    ("openai.BadRequestError: Error code: 400 - {'error': {'message': 'a', 'type': 'invalid_request_error', 'code': 'context_length_exceeded'}}", "openai.BadRequestError: Error code: 400 - {'error': {'message': 'a', 'type': 'invalid_request_error', 'code': 'content_filter'}}"),
    ("KeyError: 'Worksheet Data does not exist.'", "KeyError: \"There is no item named 'xl/workbook.xml' in the archive\""),
]  # fmt: skip

TOGETHER: list[Pair] = [
    ("RuntimeError: 1 row was rejected", "RuntimeError: 12 rows were rejected"),
    ("RuntimeError: wrote 1 of 3 files", "RuntimeError: wrote 1 of 1 file"),
    ("RuntimeError: 1 entry is invalid", "RuntimeError: 4 entries are invalid"),
    ("tenacity.RetryError: gave up after 1 retry", "tenacity.RetryError: gave up after 5 retries"),
    ("RuntimeError: lagging by 45 s", "RuntimeError: lagging by 3 hours"),
    ("RuntimeError: lagging by 1 day", "RuntimeError: lagging by 3 days"),
    ("RuntimeError: limit of 512 MB exceeded", "RuntimeError: limit of 2 GB exceeded"),
    ("RuntimeError: fill level 97 % is too high", "RuntimeError: fill level 98.5% is too high"),
    ("RuntimeError: pressure 12 bar is too high", "RuntimeError: pressure 740 mbar is too high"),
    ("asyncio.exceptions.TimeoutError: no data for 500 ms", "asyncio.exceptions.TimeoutError: no data for 2 s"),
    ("ValueError: sensor VALVE-NORTH has no unit", "ValueError: sensor PUMP-SOUTH-B has no unit"),
    ("ValueError: no data for time series PLANT.NORTH.FLOW", "ValueError: no data for time series PLANT.SOUTH.LEVEL"),
    ("ValueError: asset 'Pump North' has no parent", "ValueError: asset 'Valve' has no parent"),
    ("KeyError: 'PUMP_NORTH'", "KeyError: 'valve south'"),
    (CONNECTION + "/ " + CAUSED + "[Errno -2] Name or service not known'))", CONNECTION + "/api/orders?top=5&skip=10 " + CAUSED + "[Errno -2] Name or service not known'))"),
    ("requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://sap.example.com/", "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://sap.example.com/orders/12"),
    ("requests.exceptions.HTTPError: 404 Client Error: None for url: https://a.example.com/x", "requests.exceptions.HTTPError: 404 Client Error: None for url: https://b.example.com/y"),
    ("FileNotFoundError: [Errno 2] No such file or directory: 'plan'", "FileNotFoundError: [Errno 2] No such file or directory: '/in/plan 12.xlsx'"),
    ("pymysql.err.OperationalError: (1045, \"Access denied for user 'etl'@'10.0.0.4' (using password: YES)\")", "pymysql.err.OperationalError: (1045, \"Access denied for user 'reader'@'db.example.com' (using password: NO)\")"),
    ("pymysql.err.IntegrityError: (1062, \"Duplicate entry '12' for key 'orders.PRIMARY'\")", "pymysql.err.IntegrityError: (1062, \"Duplicate entry 'pump north' for key 'orders.PRIMARY'\")"),
    (f"pyodbc.InterfaceError: ('28000', \"[28000] {ODBC}Login failed for user 'etl'. (18456) (SQLDriverConnect)\")", f"pyodbc.InterfaceError: ('28000', \"[28000] {ODBC}Login failed for user 'o''brien'. (18456) (SQLDriverConnect)\")"),
    ("RuntimeError: failed: {'code': 400, 'message': 'Invalid id 5', 'requestId': 'a-1'}", "RuntimeError: failed: {'code': 400, 'message': 'Invalid id 77', 'requestId': 'b-2'}"),
    ("RuntimeError: sap returned 502 for order 4711", "RuntimeError: sap returned 502 for order 12"),
    ("RuntimeError: query returned 404 rows, expected 12", "RuntimeError: query returned 512 rows, expected 700"),
    ("RuntimeError: query returned 12 rows", "RuntimeError: query returned 1 row"),
    (CONFIG + "rows.3.site" + REQUIRED.format(1), CONFIG + "rows.12.site" + REQUIRED.format(5)),
    (CONFIG + "rows.3.site" + REQUIRED.format(1), CONFIGS.format(2) + "rows.4.site" + REQUIRED.format(1) + "\nrows.9.site" + REQUIRED.format(2)),
    ('psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "orders_pkey"\nDETAIL:  Key (id)=(4711) already exists.', 'psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "orders_pkey"\nDETAIL:  Key (id, plant)=(12, north) already exists.'),
    ("cognite.client.exceptions.CogniteAPIError: Invalid time range, start >= end | code: 400 | X-Request-ID: 9f0c7a53-8f9e-9d2c-a1b4-3f2504e04f89 | cluster: westeurope-1", "cognite.client.exceptions.CogniteAPIError: Invalid time range, start >= end | code: 400 | X-Request-ID: 11111111-2222-3333-4444-555555555555 | cluster: az-eastus-1"),
    ("RuntimeError: job E12-4-7 failed", "RuntimeError: job B7-1-3 failed"),
    ("RuntimeError: could not write to /out", "RuntimeError: could not write to /out/2026/a b.csv"),
    ("ValueError: too few values (3 < 12)", "ValueError: too few values (0 < 7)"),
    ("RuntimeError: order 1045 has 2003 positions", "RuntimeError: order 4711 has 3 positions"),
    ("RuntimeError: skipped 404 of 500", "RuntimeError: skipped 3 of 401"),
    ("ValueError: value -12.5 °C out of range [0, 80]", "ValueError: value 310 K out of range [273.15, 353.15]"),
    ("RuntimeError: object <Pump object at 0x7f01ab34> is closed", "RuntimeError: object <Pump object at 0x80ab12cd34ef> is closed"),
]  # fmt: skip

LATER_APART: list[Pair] = [
    ("elasticsearch.AuthenticationException: AuthenticationException(401, 'security_exception', 'unable to authenticate user [etl]')", "elasticsearch.AuthenticationException: AuthenticationException(403, 'security_exception', 'action is unauthorized')"),
    ("kubernetes.client.exceptions.ApiException: (403)\nReason: Forbidden\nHTTP response headers: x", "kubernetes.client.exceptions.ApiException: (409)\nReason: Conflict\nHTTP response headers: x"),
    ("paho.mqtt.MQTTException: Connection refused: return code 4", "paho.mqtt.MQTTException: Connection refused: return code 5"),
    ("zeep.exceptions.TransportError: Server returned response (503) with invalid XML: no element found", "zeep.exceptions.TransportError: Server returned response (401) with invalid XML: no element found"),
    ("paramiko.ssh_exception.SSHException: Error reading SSH protocol banner[Errno 104] Connection reset by peer", "paramiko.ssh_exception.SSHException: Error reading SSH protocol banner[Errno 110] Connection timed out"),
    ("graphql.GraphQLError: {'message': 'no', 'extensions': {'code': 'UNAUTHENTICATED'}}", "graphql.GraphQLError: {'message': 'no', 'extensions': {'code': 'BAD_USER_INPUT'}}"),
    ("minio.error.S3Error: S3 operation failed; code: NoSuchKey, message: Object does not exist, resource: /a/b, request_id: 17A2", "minio.error.S3Error: S3 operation failed; code: AccessDenied, message: Access Denied., resource: /a/b, request_id: 17A9"),
    ("ibm_db.Error: SQLSTATE=28000 SQLCODE=-30082", "ibm_db.Error: SQLSTATE=08001 SQLCODE=-30081"),
    ("pymssql.OperationalError: (18456, b\"Login failed for user 'etl'.DB-Lib error message 20018, severity 14\")", "pymssql.OperationalError: (20009, b'DB-Lib error message 20009, severity 9: Unable to connect')"),
    ('psycopg2.OperationalError: FATAL:  too many connections for role "etl"', "psycopg2.OperationalError: FATAL:  the database system is shutting down"),
    ("azure.identity.ClientAuthenticationError: Authentication failed: AADSTS7000222: The provided client secret keys are expired.", "azure.identity.ClientAuthenticationError: Authentication failed: AADSTS50034: The user account does not exist."),
    ("RuntimeError: PI Web API answered 502 (Bad Gateway)", "RuntimeError: PI Web API answered 404 (Not Found)"),
    ("RuntimeError: SAP RFC error RFC_COMMUNICATION_FAILURE", "RuntimeError: SAP RFC error RFC_LOGON_FAILURE"),
    ("RuntimeError: upload failed: HTTP 413", "RuntimeError: upload failed: HTTP 507"),
    ("RuntimeError: status=429 from https://a.example.com", "RuntimeError: status=500 from https://a.example.com"),
    ("ValueError: Unexpected status 404 Not Found: https://a.example.com/x", "ValueError: Unexpected status 403 Forbidden: https://a.example.com/x"),
    ("google.api_core.exceptions.PermissionDenied: 403 Permission denied on resource project a", "google.api_core.exceptions.NotFound: 404 Not found: Table a was not found"),
    ("ModbusError: Modbus Error: [Input/Output] Exception code 2", "ModbusError: Modbus Error: [Input/Output] Exception code 4"),
    ("OSError: exit status 0xC0000005", "OSError: exit status 0xC0000135"),
    ("pyspark.errors.AnalysisException: [TABLE_OR_VIEW_NOT_FOUND] The table or view `a` cannot be found.", "pyspark.errors.AnalysisException: [UNRESOLVED_COLUMN.WITH_SUGGESTION] A column `a` cannot be resolved."),
]  # fmt: skip
"""Written after the rules, which were not changed for them."""

LATER_TOGETHER: list[Pair] = [
    ("RuntimeError: processed 1 file, 3 failures", "RuntimeError: processed 12 files, 1 failure"),
    ("RuntimeError: batch 1/20 failed", "RuntimeError: batch 17/20 failed"),
    ("TimeoutError: no heartbeat for 90 seconds", "TimeoutError: no heartbeat for 2.5 min"),
    ("ValueError: No datapoints for 21-PT-1019 between 2026-10-01 and 2026-10-02", "ValueError: No datapoints for VAL_23_FT:Z between 2026-11-01 00:00 and 2026-11-02 12:00"),
    ("ValueError: tag OSLO_PUMP.A has quality BAD", "ValueError: tag BERGEN_VALVE.B has quality BAD"),
    ("RuntimeError: memory 1.9 GiB of 2 GiB used", "RuntimeError: memory 990 MiB of 1 GiB used"),
    ("RuntimeError: response too large (12 MB)", "RuntimeError: response too large (900 kB)"),
    ("elasticsearch.NotFoundError: NotFoundError(404, 'index_not_found_exception', 'no such index [a-2026.10]')", "elasticsearch.NotFoundError: NotFoundError(404, 'index_not_found_exception', 'no such index [b-2026.11]')"),
    ("paramiko.ssh_exception.NoValidConnectionsError: [Errno None] Unable to connect to port 22 on 10.0.0.4", "paramiko.ssh_exception.NoValidConnectionsError: [Errno None] Unable to connect to port 2222 on 10.0.0.77"),
    ("pandas.errors.ParserError: Error tokenizing data. C error: Expected 5 fields in line 12, saw 7", "pandas.errors.ParserError: Error tokenizing data. C error: Expected 3 fields in line 4011, saw 4"),
    ("RuntimeError: 2 assets have no parent: [a, b]", "RuntimeError: 1 asset has no parent: [c]"),
    ("minio.error.S3Error: S3 operation failed; code: NoSuchKey, message: Object does not exist, resource: /a/b, request_id: 17A2, object_name: b", "minio.error.S3Error: S3 operation failed; code: NoSuchKey, message: Object does not exist, resource: /c/d.csv, request_id: 99AB, object_name: d.csv"),
    ("RuntimeError: temperature 81.2 °C above limit 80 °C", "RuntimeError: temperature 355 K above limit 353 K"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/in/a.csv'", "FileNotFoundError: [Errno 2] No such file or directory: b'/in/b.csv'"),
    ("RuntimeError: retry 1 of 5 failed after 0.5s", "RuntimeError: retry 4 of 5 failed after 1m"),
    ("kubernetes.client.exceptions.ApiException: (404)\nReason: Not Found\nHTTP response headers: HTTPHeaderDict({'a': 'b'})", "kubernetes.client.exceptions.ApiException: (404)\nReason: Not Found\nHTTP response headers: HTTPHeaderDict({'a': 'c', 'd': 'e'})"),
]  # fmt: skip


def held_out(pair: Pair) -> bool:
    """Whether a pair is of the half that the rules were not written on: by a hash, so that nobody has chosen."""
    return hashlib.sha256("|".join(pair).encode()).digest()[0] % 2 == 1
