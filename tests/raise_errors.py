# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "azure-identity", "azure-storage-blob", "botocore", "cognite-sdk", "cryptography", "duckdb", "httpx", "jinja2",
#     "jsonschema", "lxml", "openpyxl", "pandas", "polars", "psycopg[binary]", "pyarrow", "pydantic", "pymongo",
#     "pymysql", "pyyaml", "redis", "requests", "scipy", "sqlalchemy",
# ]
# ///
"""
Raise errors of the standard library and of other people's libraries, and record what they say.

    uv run tests/raise_errors.py

writes `library_errors.json`. It needs PostgreSQL and MariaDB on this machine (`apt-get install postgresql
mariadb-server`), with a user `callframe` whose password is `callframe` and a database `callframe` in each. The tests
read the record, and raise again what needs no library or server that they lack.
"""

# ruff: noqa: E501 - a line is what a function would have run

from __future__ import annotations

import gzip
import http.server
import importlib
import json
import re
import threading
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RECORD = Path(__file__).with_name("library_errors.json")

PARTS: dict[str, dict[str, list[str]]] = {
    "json": {
        "json: no content": ["json.loads('')", "json.loads('   ')", "json.loads('<html>busy</html>')"],
        "json: something after the end": ["json.loads('{} {}')", "json.loads('[1, 2]\\n\\nTraceback')"],
        "json: no comma": ["json.loads('[1 2]')", "json.loads('{\"a\": 1,\\n \"b\": [1, 2, 3 4]}')"],
        "json: cut off in a string": ["json.loads('{\"a\": \"b')", "json.loads('[\"pump\", \"val')"],
        "json: single quotes": ["json.loads(\"{'a': 1}\")", "json.loads('{\"rows\": {unit: 5}}')"],
        "json: date not serializable": ["json.dumps({'a': datetime.datetime(2026, 1, 2)})", "json.dumps([1, datetime.datetime.now()])"],
        "json: set not serializable": ["json.dumps({'a': {1, 2}})", "json.dumps({'pumps': [{'x'}]})"],
    },
    "datetime": {
        "date: not ISO": ["datetime.datetime.fromisoformat('29/10/2026')", "datetime.datetime.fromisoformat('yesterday')"],
        "date: format": ["datetime.datetime.strptime('29.10.26', '%Y-%m-%d')", "datetime.datetime.strptime('n/a', '%Y-%m-%d')"],
        "date: rest": ["datetime.datetime.strptime('2026-10-29T12:00', '%Y-%m-%d')", "datetime.datetime.strptime('2026-11-01 noon', '%Y-%m-%d')"],
        "date: naive against aware": ["datetime.datetime.now() - datetime.datetime.now(datetime.UTC)", "datetime.datetime(2026, 1, 1) - datetime.datetime.now(datetime.UTC)"],
        "date: day out of range": ["datetime.date(2026, 2, 30)", "datetime.date(2026, 4, 31)"],
        "date: month out of range": ["datetime.date(2026, 13, 1)", "datetime.date(2026, 0, 1)"],
    },
    "builtins": {
        "int: text": ["int('n/a')", "int('12.5')", "int('')"],
        "float: text": ["float('n/a')", "float('12,5')"],
        "unpack: too few": ["a, b, c = 'a;b'.split(';')", "a, b, c = 'pump'.split(';')"],
        "unpack: too many": ["a, b = 'a;b;c'.split(';')", "a, b = 'x;y;z;pump north'.split(';')"],
        "index: list": ["[][0]", "[1, 2, 3][7]"],
        "key: data": ["{}['21-PT-1019A']", "{}['Pump north']", "{}[12]"],
        "none: subscript": ["x = None; x['a']", "x = None; x[0]"],
        "none: iterate": ["for a in None: pass", "list(None)"],
        "none: append": ["x = None; x.append(1)", "y = None; y.append('b')"],
        "none: get": ["x = None; x.get('a')", "y = None; y.get('b', 5)"],
        "none + int": ["None + 1", "None + 5"],
        "text + int": ["'a' + 1", "'pump' + 12"],
        "str - str": ["'a' - 'b'", "'12' - '7'"],
        "division": ["1 / 0", "5 / 0"],
        "name": ["frobnicate(1)", "frobnicate('b')"],
        "other name": ["client_id + 1", "len(client_id)"],
        "argument missing": ["(lambda client, data: 1)(1)", "(lambda client, data: 1)('x')"],
        "decode: utf-8": ["b'\\xff\\xfeab'.decode()", "b'pump \\xe5 north'.decode()"],
        "encode: ascii": ["'m\\xe5ler'.encode('ascii')", "'Pumpe S\\xfcd 12 \\u2013 West'.encode('ascii')"],
        "file: not found": ["open('/nowhere/a.csv')", "open('/nowhere/in/report 12.csv')"],
        "file: is a folder": ["open('/tmp')", "open('/usr/bin')"],
        "import: no module": ["import frobnicate_a", "import frobnicate_a.part"],
        "import: another module": ["import gizmo", "from gizmo import x"],
        "recursion": ["f = lambda n: f(n + 1); globals().update(f=f); f(0)", "g = lambda n: g(n - 1) + 1; globals().update(g=g); g(3)"],
        "assert": ["assert 1 == 2, 'expected 14 rows, got 12'", "assert 3 == 2, 'expected 7 rows, got 0'"],
        "stop": ["next(iter([]))", "next(iter(()))"],
        "base64": ["__import__('base64').b64decode('abc')", "__import__('base64').b64decode('pumpsa')"],
        "gzip": ["__import__('gzip').decompress(b'abcdef')", "__import__('gzip').decompress(b'<html>')"],
        "zip": ["__import__('zipfile').ZipFile(__import__('io').BytesIO(b'abc'))", "__import__('zipfile').ZipFile(__import__('io').BytesIO(b'<html>503</html>'))"],
        "subprocess: exit 1": ["__import__('subprocess').run(['false', '12'], check=True)", "__import__('subprocess').run(['false', 'report 7'], check=True)"],
        "subprocess: exit 2": ["__import__('subprocess').run(['ls', '/nowhere/1'], check=True, capture_output=True)", "__import__('subprocess').run(['ls', '/nowhere/pump'], check=True, capture_output=True)"],
        "decimal": ["__import__('decimal').Decimal('12,5')", "__import__('decimal').Decimal('n/a')"],
        "xml: cut off": ["__import__('xml.etree.ElementTree').etree.ElementTree.fromstring('<a>')", "__import__('xml.etree.ElementTree').etree.ElementTree.fromstring('<plant>\\n <pump>')"],
        "xml: mismatched": ["__import__('xml.etree.ElementTree').etree.ElementTree.fromstring('<a></b>')", "__import__('xml.etree.ElementTree').etree.ElementTree.fromstring('<plant>\\n <pump></valve>')"],
        "dns": ["__import__('socket').create_connection(('sap.invalid', 443), 5)", "__import__('socket').create_connection(('gateway-2.invalid', 8443), 5)"],
        "socket refused": ["__import__('socket').create_connection(('127.0.0.1', 9), 5)", "__import__('socket').create_connection(('127.0.0.2', 11), 5)"],
        "struct": ["__import__('struct').unpack('<i', b'abc')", "__import__('struct').unpack('<d', b'abcd')"],
        "uuid": ["__import__('uuid').UUID('abc')", "__import__('uuid').UUID('pump north 12')"],
        "dict changed": ["d = {1: 2}\nfor k in d: d[k + 1] = 1", "d = {'a': 2}\nfor k in d: d[k + 'b'] = 1"],
        "timezone": ["__import__('zoneinfo').ZoneInfo('Europe/Nowhere')", "__import__('zoneinfo').ZoneInfo('CEST 2')"],
    },
    "sqlite3": {
        "sqlite: no table": ["sqlite3.connect(':memory:').execute('select * from orders')", "sqlite3.connect(':memory:').execute('delete from orders where id = 5')"],
        "sqlite: no column": ["sqlite3.connect(':memory:').execute('select plant from (select 1)')", "sqlite3.connect(':memory:').execute('select plant, 5 from (select 2 as b)')"],
        "sqlite: unique": ["c = sqlite3.connect(':memory:'); c.execute('create table t (a unique)'); c.executemany('insert into t values (?)', [(1,), (1,)])", "c = sqlite3.connect(':memory:'); c.execute('create table t (a unique)'); c.executemany('insert into t values (?)', [('b',), ('b',)])"],
        "sqlite: not null": ["c = sqlite3.connect(':memory:'); c.execute('create table t (a not null)'); c.execute('insert into t values (null)')", "c = sqlite3.connect(':memory:'); c.execute('create table t (a not null, b)'); c.execute('insert into t values (null, 5)')"],
        "sqlite: cannot open": ["sqlite3.connect('/nowhere/a.db')", "sqlite3.connect('/nowhere/in/b 7.db')"],
        "sqlite: syntax": ["sqlite3.connect(':memory:').execute('selekt 1')", "sqlite3.connect(':memory:').execute('selekt a from b')"],
        "sqlite: bindings": ["sqlite3.connect(':memory:').execute('select ?, ?', (1,))", "sqlite3.connect(':memory:').execute('select ?, ?, ?', (1, 2))"],
    },
    "numpy": {
        "numpy: broadcast": ["numpy.ones(3) + numpy.ones(4)", "numpy.ones((2, 3)) + numpy.ones((5, 7))"],
        "numpy: matmul": ["numpy.ones((2, 3)) @ numpy.ones((4, 5))", "numpy.ones((12, 3)) @ numpy.ones((70, 2))"],
        "numpy: index": ["numpy.ones(3)[5]", "numpy.ones(12)[700]"],
        "numpy: too many indices": ["numpy.ones(3)[1, 2]", "numpy.ones((3, 4))[1, 2, 3]"],
        "numpy: reshape": ["numpy.ones(10).reshape(3, 4)", "numpy.ones(7).reshape(2, 2, 2)"],
        "numpy: concatenate": ["numpy.concatenate([numpy.ones((2, 3)), numpy.ones((2, 4))])", "numpy.concatenate([numpy.ones((2, 5)), numpy.ones((9, 7))])"],
        "numpy: memory": ["numpy.ones((10**9, 10**6))", "numpy.ones((10**8, 300, 10**5), dtype='int32')"],
        "numpy: ambiguous": ["bool(numpy.ones(3) > 1)", "bool(numpy.ones(12) > 7)"],
        "numpy: singular": ["numpy.linalg.inv(numpy.zeros((2, 2)))", "numpy.linalg.inv(numpy.zeros((3, 3)))"],
        "numpy: not square": ["numpy.linalg.inv(numpy.zeros((2, 3)))", "numpy.linalg.inv(numpy.zeros((4, 5)))"],
        "numpy: inhomogeneous": ["numpy.array([[1, 2], [3]])", "numpy.array([[1, 2, 5], [3], [4]])"],
        "numpy: percentile": ["numpy.percentile([1, 2], 120)", "numpy.percentile([1, 2, 3], -5)"],
        "numpy: cast": ["a = numpy.ones(2, 'int64'); a += 1.5", "a = numpy.ones(3, 'int64'); a += 0.25"],
    },
    "pandas": {
        "pandas: columns not in index": ["pandas.DataFrame({'a': [1]})[['a', 'b']]", "pandas.DataFrame({'a': [1]})[['a', 'flow', 'pressure']]"],
        "pandas: none of the columns": ["pandas.DataFrame({'a': [1]})[['b']]", "pandas.DataFrame({'a': [1]})[['flow', 'pressure']]"],
        "key: data": ["pandas.DataFrame({'a': [1]})['b']", "pandas.DataFrame({'a': [1]}).merge(pandas.DataFrame({'b': [1]}), on='a')", "pandas.DataFrame({'c': [1]}).merge(pandas.DataFrame({'a': [1]}), on='plant')", "pandas.Series([1], index=['a']).loc['b']", "pandas.Series([1], index=['a']).loc['pump 7']"],
        "pandas: drop": ["pandas.DataFrame({'a': [1]}).drop(columns='b')", "pandas.DataFrame({'a': [1]}).drop(columns=['b', 'flow'])"],
        "pandas: length of values": ["pandas.DataFrame({'a': [1, 2]}).assign(b=[1, 2, 3])", "pandas.DataFrame({'a': range(9)}).assign(b=[1])"],
        "pandas: duplicates": ["pandas.Series([1, 2], index=[1, 1]).reindex([1, 2])", "pandas.Series([1, 2], index=['a', 'a']).reindex(['b'])"],
        "pandas: nothing to merge on": ["pandas.DataFrame({'a': [1]}).merge(pandas.DataFrame({'b': [1]}))", "pandas.DataFrame({'c': [1]}).merge(pandas.DataFrame({'d': [1], 'e': [2]}))"],
        "pandas: merge dtypes": ["pandas.DataFrame({'a': [1]}).merge(pandas.DataFrame({'a': ['x']}), on='a')", "pandas.DataFrame({'plant': [1]}).merge(pandas.DataFrame({'plant': ['x']}), on='plant')"],
        "pandas: validate": ["pandas.DataFrame({'a': [1, 1]}).merge(pandas.DataFrame({'a': [1]}), on='a', validate='1:1')", "pandas.DataFrame({'k': [2, 2]}).merge(pandas.DataFrame({'k': [2]}), on='k', validate='1:1')"],
        "pandas: date": ["pandas.to_datetime(['2026-01-01', 'n/a?'])", "pandas.to_datetime(['2026-01-01', '2026-01-02', '32.13.2026'])"],
        "pandas: unknown date": ["pandas.Timestamp('yesterdayish')", "pandas.Timestamp('week 41')"],
        "pandas: out of bounds": ["pandas.Timestamp(10**30, unit='s')", "pandas.Timestamp(5 * 10**28, unit='s')"],
        "pandas: numeric": ["pandas.to_numeric(['1', 'Bad Input'])", "pandas.to_numeric(['1', '2', '-'])"],
        "pandas: NaN to int": ["pandas.Series([1.0, None]).astype('int64')", "pandas.Series([None, 7.5, 2]).astype('int64')"],
        "pandas: nothing to parse": ["pandas.read_csv(io.StringIO(''))", "pandas.read_csv(io.StringIO('\\n\\n'))"],
        "pandas: fields in line": ["pandas.read_csv(io.StringIO('a,b\\n1,2\\n1,2,3'))", "pandas.read_csv(io.StringIO('a,b,c\\n1,2,3\\n1,2,3\\n1,2,3,4,5'))"],
        "pandas: usecols": ["pandas.read_csv(io.StringIO('a,b\\n1,2'), usecols=['c'])", "pandas.read_csv(io.StringIO('a,b\\n1,2'), usecols=['flow', 'a'])"],
        "pandas: nothing to concatenate": ["pandas.concat([])", "pandas.concat(iter([]))"],
        "pandas: iloc": ["pandas.Series([1]).iloc[5]", "pandas.DataFrame({'a': [1, 2]}).iloc[12]"],
        "pandas: ambiguous": ["bool(pandas.Series([1, 2]))", "bool(pandas.Series(['a']))"],
        "pandas: append gone": ["pandas.DataFrame().append(1)", "pandas.DataFrame({'a': [1]}).append('b')"],
        "pandas: str of numbers": ["pandas.Series([1, 2]).str.upper()", "pandas.Series([1.5]).str.lower()"],
        "pandas: dt of text": ["pandas.Series(['a']).dt.year", "pandas.Series(['2026', 'b']).dt.month"],
        "pandas: already aware": ["pandas.Series(pandas.to_datetime(['2026-01-01'], utc=True)).dt.tz_localize('UTC')", "pandas.Series(pandas.to_datetime(['2026-03-01', '2026-05-01'], utc=True)).dt.tz_localize('CET')"],
        "pandas: naive against aware": ["pandas.Timestamp('2026-01-01') - pandas.Timestamp('2026-01-01', tz='UTC')", "pandas.Timestamp('2026-05-01') - pandas.Timestamp('2026-02-01', tz='UTC')"],
        "pandas: frequency": ["pandas.date_range('2026', periods=2, freq='foo')", "pandas.Series([1], index=pandas.to_datetime(['2026'])).resample('hourly')"],
        "pandas: resample index": ["pandas.Series([1]).resample('1h')", "pandas.Series([1], index=['a']).resample('5min')"],
    },
    "requests": {
        "requests: no scheme": ["requests.get('sap.example.com/a')", "requests.get('/orders/12')"],
        "requests: unknown scheme": ["requests.get('ftp://sap.example.com/a')", "requests.get('sap://plant/12')"],
        "requests: refused": ["requests.get('http://127.0.0.1:9/a')", "requests.get('http://127.0.0.2:11/orders?top=500')", "requests.get('http://127.0.0.1:9/')"],
        "requests: DNS": ["requests.get('http://sap.invalid/a')", "requests.get('http://gateway-2.invalid:8443/orders?top=5')"],
        "requests: read timeout": ["requests.get(f'{url}/slow', timeout=0.2)", "requests.get(f'{url}/slow?top=5', timeout=0.3)"],
        "requests: 404": ["requests.get(f'{url}/status/404').raise_for_status()", "requests.get(f'{url}/status/404?id=12').raise_for_status()"],
        "requests: 401": ["requests.get(f'{url}/status/401').raise_for_status()", "requests.get(f'{url}/status/401?id=12').raise_for_status()"],
        "requests: 429": ["requests.get(f'{url}/status/429').raise_for_status()", "requests.get(f'{url}/status/429?id=12').raise_for_status()"],
        "requests: 500": ["requests.get(f'{url}/status/500').raise_for_status()", "requests.get(f'{url}/status/500?id=12').raise_for_status()"],
        "requests: 503": ["requests.get(f'{url}/status/503').raise_for_status()", "requests.get(f'{url}/status/503?id=pump').raise_for_status()"],
        "json: no content": ["requests.get(f'{url}/text/busy').json()", "requests.get(f'{url}/text/<html>').json()"],
        "requests: closed": ["requests.get(f'{url}/close')", "requests.get(f'{url}/close?id=12')"],
        "requests: cut off": ["requests.get(f'{url}/cut')", "requests.get(f'{url}/cut?id=7')"],
        "requests: TLS to plain": ["requests.get(url.replace('http:', 'https:') + '/a')", "requests.get(url.replace('http:', 'https:') + '/orders/12?x=1')"],
        "requests: redirects": ["requests.get(f'{url}/loop')", "requests.get(f'{url}/loop?a=12')"],
        "requests: header": ["requests.get(url, headers={'X-Plant': 12})", "requests.get(url, headers={'X-Plant': 7})"],
    },
    "httpx": {
        "httpx: refused": ["httpx.get('http://127.0.0.1:9/a')", "httpx.get('http://127.0.0.2:11/orders?top=5')"],
        "httpx: read timeout": ["httpx.get(f'{url}/slow', timeout=0.2)", "httpx.get(f'{url}/slow?id=5', timeout=0.3)"],
        "httpx: 404": ["httpx.get(f'{url}/status/404').raise_for_status()", "httpx.get(f'{url}/status/404?id=5').raise_for_status()"],
        "httpx: 502": ["httpx.get(f'{url}/status/502').raise_for_status()", "httpx.get(f'{url}/status/502?id=5').raise_for_status()"],
        "httpx: no scheme": ["httpx.get('sap.example.com/a')", "httpx.get('/orders/12')"],
        "httpx: disconnected": ["httpx.get(f'{url}/close')", "httpx.get(f'{url}/close?id=5')"],
    },
    "pydantic": {
        "pydantic: site missing": ["Config(limit=5, tags=[])", "Config(limit=7, tags=['a'])"],
        "pydantic: limit missing": ["Config(site='a', tags=[])", "Config(site='Oslo 7', tags=['b'])"],
        "pydantic: limit no number": ["Config(site='a', limit='x', tags=[])", "Config(site='b', limit='n/a', tags=[])"],
        "pydantic: limit too large": ["Config(site='a', limit=5000, tags=[])", "Config(site='b', limit=12000, tags=['c'])"],
        "pydantic: tags no list": ["Config(site='a', limit=5, tags='x')", "Config(site='b', limit=7, tags='pump north')"],
        "pydantic: extra": ["Config(site='a', limit=5, tags=[], unit='bar')", "Config(site='b', limit=7, tags=[], unit='C')"],
        "pydantic: two missing": ["Config(tags=[])", "Config(tags=['a'])"],
        "pydantic: JSON": ["Config.model_validate_json('{')", "Config.model_validate_json('{\"a\": ')"],
    },
    "sqlalchemy": {
        "sqlalchemy: URL": ["sqlalchemy.create_engine('nonsense')", "sqlalchemy.create_engine('my server 12')"],
        "sqlalchemy: dialect": ["sqlalchemy.create_engine('oracel://a')", "sqlalchemy.create_engine('oracel://b/c')"],
        "sqlalchemy: no table": ["connection.execute(sqlalchemy.text('select * from orders'))", "connection.execute(sqlalchemy.text('select a from orders where id = :id'), {'id': 12})"],
        "sqlalchemy: unique": ["connection.execute(sqlalchemy.text('insert into t values (1), (1)'))", "connection.execute(sqlalchemy.text('insert into t values (:a), (:a)'), {'a': 12})"],
        "sqlalchemy: no row": ["connection.execute(sqlalchemy.text('select 1 where 1 = 2')).one()", "connection.execute(sqlalchemy.text('select a from t where a = 99')).one()"],
        "sqlalchemy: many rows": ["connection.execute(sqlalchemy.text('select 1 union select 2')).one()", "connection.execute(sqlalchemy.text('select 5 union select 7')).one()"],
        "sqlalchemy: parameter": ["connection.execute(sqlalchemy.text('select :a'))", "connection.execute(sqlalchemy.text('select :a + 5'))"],
    },
    "psycopg": {
        "psycopg: refused": ["psycopg.connect('host=127.0.0.1 port=9 dbname=a')", "psycopg.connect('host=127.0.0.2 port=11 dbname=plant')"],
        "psycopg: DNS": ["psycopg.connect('host=db.invalid dbname=a')", "psycopg.connect('host=pg-2.invalid port=5433 dbname=plant')"],
        "psycopg: password": ["psycopg.connect('host=127.0.0.1 dbname=callframe user=callframe password=' + 'wrong')", "psycopg.connect('host=127.0.0.1 dbname=postgres user=callframe password=' + 'wronger')"],
        "psycopg: no database": ["psycopg.connect(postgres.replace('dbname=callframe', 'dbname=plant'))", "psycopg.connect(postgres.replace('dbname=callframe', 'dbname=north7'))"],
        "psycopg: unique": ["pg('create temp table t (a int primary key)', 'insert into t values (1), (1)')", "pg('create temp table t (a int primary key)', 'insert into t values (77), (77)')"],
        "psycopg: foreign key": ["pg('create temp table t (a int primary key)', 'create temp table u (a int references t)', 'insert into u values (1)')", "pg('create temp table t (a int primary key)', 'create temp table u (a int references t)', 'insert into u values (12)')"],
        "psycopg: not null": ["pg('create temp table t (a int not null)', 'insert into t values (null)')", "pg('create temp table t (a int not null, b text)', \"insert into t values (null, 'x')\")"],
        "psycopg: no table": ["pg('select * from orders')", "pg('select id, name from orders where id = 12')"],
        "psycopg: no column": ["pg('select plant from pg_class')", "pg('select 5, plant from pg_type')"],
        "psycopg: syntax": ["pg('selekt 1')", "pg('selekt a, b from c')"],
        "psycopg: integer": ["pg(\"select 'x'::int\")", "pg(\"select 'pump north'::int\")"],
        "psycopg: out of range": ["pg('select 10000000000::int')", "pg('select 77777777777::int')"],
        "psycopg: division": ["pg('select 1 / 0')", "pg('select 12 / 0')"],
        "psycopg: permission": ["pg('select * from pg_authid')", "pg('select rolname from pg_authid where oid = 5')"],
        "psycopg: statement timeout": ["pg(\"set statement_timeout = 50\", 'select pg_sleep(1)')", "pg(\"set statement_timeout = 70\", 'select pg_sleep(2)')"],
        "psycopg: aborted": ["connection = psycopg.connect(postgres)\ntry: connection.execute('selekt')\nexcept Exception: pass\nconnection.execute('select 1')", "connection = psycopg.connect(postgres)\ntry: connection.execute('selekt 5')\nexcept Exception: pass\nconnection.execute('select 2')"],
        "psycopg: closed": ["connection = psycopg.connect(postgres); connection.close(); connection.execute('select 1')", "connection = psycopg.connect(postgres); connection.close(); connection.execute('select 2')"],
        "psycopg: too long": ["pg('create temp table t (a varchar(3))', \"insert into t values ('abcdef')\")", "pg('create temp table t (a varchar(12))', \"insert into t values ('abcdefghijklmnopqr')\")"],
    },
    "pymysql": {
        "pymysql: refused": ["pymysql.connect(host='127.0.0.1', port=9)", "pymysql.connect(host='127.0.0.2', port=11)"],
        "pymysql: DNS": ["pymysql.connect(host='db.invalid')", "pymysql.connect(host='my-2.invalid', port=3307)"],
        "pymysql: password": ["pymysql.connect(**mysql | {'password': 'wrong'})", "pymysql.connect(**mysql | {'password': 'wronger', 'user': 'other'})"],
        "pymysql: no database": ["pymysql.connect(**mysql | {'database': 'plant'})", "pymysql.connect(**mysql | {'database': 'north7'})"],
        "pymysql: unique": ["my('create temporary table t (a int primary key)', 'insert into t values (1), (1)')", "my('create temporary table t (a int primary key)', 'insert into t values (77), (77)')"],
        "pymysql: no table": ["my('select * from orders')", "my('select id from orders where id = 12')"],
        "pymysql: no column": ["my('select plant from information_schema.tables')", "my('select 5, plant from information_schema.tables')"],
        "pymysql: syntax": ["my('selekt 1')", "my('selekt a, b from c')"],
        "pymysql: not null": ["my('create temporary table t (a int not null)', 'insert into t values (null)')", "my('create temporary table t (a int not null, b int)', 'insert into t values (null, 5)')"],
        "pymysql: too long": ["my('create temporary table t (a varchar(3))', \"insert into t values ('abcdef')\")", "my('create temporary table t (a varchar(3), b int)', \"insert into t values ('pump north', 5), ('a', 7)\")"],
        "pymysql: default": ["my('create temporary table t (a int not null)', 'insert into t () values ()')", "my('create temporary table t (a int not null, b int)', 'insert into t (b) values (5)')"],
    },
    "cognite.client": {
        "cognite: 401": ["cognite_client('401').assets.list()", "cognite_client('401').time_series.list()"],
        "cognite: 403": ["cognite_client('403').assets.list()", "cognite_client('403').events.list(limit=5)"],
        "cognite: 500": ["cognite_client('500').assets.list()", "cognite_client('500').time_series.list(limit=7)"],
        "cognite: 400": ["cognite_client('400').assets.list()", "cognite_client('400').events.list(limit=5)"],
        "cognite: not found": ["cognite_client('missing').assets.retrieve_multiple(ids=[1, 2])", "cognite_client('missing').assets.retrieve_multiple(external_ids=['pump'])"],
        "cognite: duplicated": ["cognite_client('duplicated').assets.create(Asset(name='a', external_id='a'))", "cognite_client('duplicated').assets.create(Asset(name='pump', external_id='pump 7'))"],
        "cognite: refused": ["cognite_client('x', base_url='http://127.0.0.1:9').assets.list()", "cognite_client('x', base_url='http://127.0.0.2:11').events.list(limit=5)"],
    },
    "azure.storage.blob": {
        "azure: blob not found": ["blob('BlobNotFound').download_blob()", "blob('BlobNotFound', 'in/report 12.csv').download_blob()"],
        "azure: container not found": ["blob('ContainerNotFound').download_blob()", "blob('ContainerNotFound', 'b.csv').download_blob()"],
        "azure: key": ["blob('AuthenticationFailed').download_blob()", "blob('AuthenticationFailed', 'b.csv').download_blob()"],
        "azure: rights": ["blob('AuthorizationPermissionMismatch').download_blob()", "blob('AuthorizationPermissionMismatch', 'b.csv').download_blob()"],
        "azure: busy": ["blob('ServerBusy').download_blob()", "blob('ServerBusy', 'b.csv').download_blob()"],
        "azure: exists": ["blob('BlobAlreadyExists').upload_blob(b'a')", "blob('BlobAlreadyExists', 'b.csv').upload_blob(b'b')"],
        "azure: lease": ["blob('LeaseIdMissing').upload_blob(b'a', overwrite=True)", "blob('LeaseIdMissing', 'b.csv').upload_blob(b'b', overwrite=True)"],
        "azure: refused": ["blob('x', account='http://127.0.0.1:9/account').download_blob()", "blob('x', 'b.csv', account='http://127.0.0.2:11/account').download_blob()"],
        "azure: connection string": ["azure.storage.blob.BlobClient.from_connection_string('a', 'b', 'c')", "azure.storage.blob.BlobClient.from_connection_string('DefaultEndpointsProtocol', 'd', 'e')"],
    },
    "azure.identity": {
        "azure: environment": ["azure.identity.EnvironmentCredential().get_token('https://a/.default')", "azure.identity.EnvironmentCredential().get_token('https://b/.default')"],
    },
    "botocore": {
        "aws: no key": ["s3('NoSuchKey').get_object(Bucket='a', Key='b')", "s3('NoSuchKey').get_object(Bucket='c', Key='d/e 7')"],
        "aws: no bucket": ["s3('NoSuchBucket').get_object(Bucket='a', Key='b')", "s3('NoSuchBucket').get_object(Bucket='c', Key='d')"],
        "aws: denied": ["s3('AccessDenied').get_object(Bucket='a', Key='b')", "s3('AccessDenied').get_object(Bucket='c', Key='d')"],
        "aws: expired": ["s3('ExpiredToken').get_object(Bucket='a', Key='b')", "s3('ExpiredToken').get_object(Bucket='c', Key='d')"],
        "aws: credentials": ["s3('x', keys={}).get_object(Bucket='a', Key='b')", "s3('x', keys={}).get_object(Bucket='c', Key='d')"],
        "aws: parameter": ["s3('x').get_object(Bucket='a')", "s3('x').get_object(Bucket='b')"],
    },
    "openpyxl": {
        "zip": ["openpyxl.load_workbook(io.BytesIO(b'abc'))", "openpyxl.load_workbook(io.BytesIO(b'<html>12</html>'))"],
        "openpyxl: format": ["openpyxl.load_workbook('a.xls')", "openpyxl.load_workbook('/in/plan 12.xls')"],
        "file: not found": ["openpyxl.load_workbook('/nowhere/a.xlsx')", "openpyxl.load_workbook('/nowhere/in/plan 12.xlsx')"],
        "openpyxl: worksheet": ["openpyxl.Workbook()['Data']", "openpyxl.Workbook()['Plan 2026']"],
        "openpyxl: no xlsx in zip": ["openpyxl.load_workbook(zipped('a'))", "openpyxl.load_workbook(zipped('b.txt'))"],
        "openpyxl: value": ["openpyxl.Workbook().active.append([object()])", "openpyxl.Workbook().active.append([5, object()])"],
        "openpyxl: cell": ["openpyxl.Workbook().active.cell(0, 1)", "openpyxl.Workbook().active.cell(-7, 2)"],
    },
    "jsonschema": {
        "jsonschema: site required": ["jsonschema.validate({}, {'required': ['site']})", "jsonschema.validate({'a': 5}, {'required': ['site']})"],
        "jsonschema: number": ["jsonschema.validate('a', {'type': 'number'})", "jsonschema.validate('pump north', {'type': 'number'})"],
        "jsonschema: maximum": ["jsonschema.validate(12, {'maximum': 5})", "jsonschema.validate(7000, {'maximum': 500})"],
        "jsonschema: enum": ["jsonschema.validate('a', {'enum': ['b', 'c']})", "jsonschema.validate('d', {'enum': ['b', 'c']})"],
        "jsonschema: extra": ["jsonschema.validate({'a': 1}, {'additionalProperties': False})", "jsonschema.validate({'pump': 5}, {'additionalProperties': False})"],
    },
    "yaml": {
        "yaml: tab": ["yaml.safe_load('a:\\n\\t- b')", "yaml.safe_load('plant:\\n  pumps:\\n\\t- b')"],
        "yaml: mapping": ["yaml.safe_load('a: b: c')", "yaml.safe_load('x: 1\\nplant: north: 7')"],
        "yaml: tag": ["yaml.safe_load('!!python/object:a.B {}')", "yaml.safe_load('x: !!python/object:a.B {}')"],
    },
    "jinja2": {
        "jinja2: undefined": ["jinja2.Environment(undefined=jinja2.StrictUndefined).from_string('{{ plant }}').render()", "jinja2.Environment(undefined=jinja2.StrictUndefined).from_string('a {{ plant }} b').render(x=5)"],
        "jinja2: syntax": ["jinja2.Environment().from_string('{% if %}')", "jinja2.Environment().from_string('a\\n{% if %}')"],
        "jinja2: not found": ["jinja2.Environment(loader=jinja2.DictLoader({})).get_template('a.html')", "jinja2.Environment(loader=jinja2.DictLoader({})).get_template('mail 7.txt')"],
    },
    "pyarrow": {
        "pyarrow: cast": ["pyarrow.array(['a']).cast('int64')", "pyarrow.array(['12.5', 'pump']).cast('int64')"],
        "pyarrow: overflow": ["pyarrow.array([10**12]).cast('int32')", "pyarrow.array([7 * 10**11]).cast('int32')"],
        "pyarrow: mixed": ["pyarrow.array([1, 'a'])", "pyarrow.array([5, 'pump north'])"],
        "pyarrow: no parquet": ["pyarrow.parquet.read_table(io.BytesIO(b'abcdefghijkl'))", "pyarrow.parquet.read_table(io.BytesIO(b'<html>busy</html>'))"],
        "pyarrow: file size": ["pyarrow.parquet.read_table(io.BytesIO(b''))", "pyarrow.parquet.read_table(io.BytesIO(bytes()))"],
        "pyarrow: field": ["pyarrow.table({'a': [1]}).column('b')", "pyarrow.table({'a': [1]}).column('pump 7')"],
        "pyarrow: lengths": ["pyarrow.table({'a': [1], 'b': [1, 2]})", "pyarrow.table({'a': [1, 2, 3], 'b': [1]})"],
    },
    "polars": {
        "polars: column": ["polars.DataFrame({'a': [1]})['b']", "polars.DataFrame({'a': [1]})['pump']"],
        "polars: shape": ["polars.DataFrame({'a': [1, 2, 3], 'b': [1, 2]})", "polars.DataFrame({'a': range(7), 'b': range(12)})"],
        "polars: conversion": ["polars.Series(['a']).cast(int)", "polars.Series(['b', 'pump']).cast(int)"],
    },
    "duckdb": {
        "duckdb: no table": ["duckdb.sql('select * from orders')", "duckdb.sql('select a from orders where id = 7')"],
        "duckdb: no column": ["duckdb.sql('select plant from (select 1 a)')", "duckdb.sql('select 5, plant from (select 7 a)')"],
        "duckdb: conversion": ["duckdb.sql(\"select cast('x' as int)\").fetchall()", "duckdb.sql(\"select cast('pump north' as int)\").fetchall()"],
        "duckdb: no files": ["duckdb.sql(\"select * from '/nowhere/a.parquet'\")", "duckdb.sql(\"select * from '/nowhere/in/b 7.parquet'\")"],
        "duckdb: syntax": ["duckdb.sql('selekt 1')", "duckdb.sql('selekt a from b')"],
    },
    "scipy": {
        "scipy: bounds": ["scipy.optimize.brentq(lambda x: x + 5, 1, 2)", "scipy.optimize.brentq(lambda x: x + 7, 3, 4)"],
        "scipy: infs": ["scipy.linalg.inv([[float('nan')]])", "scipy.linalg.inv([[float('inf'), 1], [2, 3]])"],
        "scipy: interpolation range": ["scipy.interpolate.interp1d([1, 2], [3, 4])(7)", "scipy.interpolate.interp1d([1, 2, 3], [3, 4, 5])(12)"],
        "scipy: lengths": ["scipy.interpolate.interp1d([1, 2], [3, 4, 5])", "scipy.interpolate.interp1d([1, 2, 3, 4], [3, 4, 5])"],
    },
    "redis": {
        "redis: refused": ["redis.Redis(port=9).get('a')", "redis.Redis(host='127.0.0.2', port=11).get('b')"],
    },
    "pymongo": {
        "pymongo: no server": ["pymongo.MongoClient('127.0.0.1', 9, serverSelectionTimeoutMS=50).a.b.find_one()", "pymongo.MongoClient('127.0.0.2', 11, serverSelectionTimeoutMS=70).plant.pumps.find_one()"],
        "pymongo: id": ["bson.ObjectId('a')", "bson.ObjectId('pump north')"],
    },
    "lxml": {
        "lxml: cut off": ["lxml.etree.fromstring('<a>')", "lxml.etree.fromstring('<a>\\n\\n  ')"],
        "lxml: no element": ["lxml.etree.fromstring('  ')", "lxml.etree.fromstring('busy\\n')"],
    },
    "msal": {
        "msal: authority": ["msal.ConfidentialClientApplication('a', 'b', authority='c')", "msal.ConfidentialClientApplication('d', 'e', authority='north')"],
    },
}  # fmt: skip
"""By the package that raises them: causes, each with lines of code that fail from it."""


class Raised(NamedTuple):
    """What an exception said: the package and the cause it belongs to, and the traceback's last lines."""

    package: str
    cause: str
    text: str


def gunzip(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


class _Service(http.server.BaseHTTPRequestHandler):
    """Answers as the path tells it to."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):  # the other end has gone
            super().handle()

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        first, *rest = self.path.split("?")[0].strip("/").split("/")
        if first == "slow":
            threading.Event().wait(0.6)
        elif first == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc")
        if first in ("slow", "cut", "close"):
            self.close_connection = True
            return
        status, kind, body = self._body(first, rest, content)
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "X-Request-ID": str(uuid.uuid4())}
        headers |= {"x-ms-error-code": rest[0]} if first == "account" else {}
        headers |= {"Location": self.path} if first == "loop" else {}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    @staticmethod
    def _body(first: str, rest: list[str], content: bytes) -> tuple[int, str, bytes]:
        """Build the status, type and body of an answer."""
        if first in ("account", "aws"):
            code = rest[0]
            status, text = (_AZURE if first == "account" else _AWS)[code]
            text += f"\nRequestId:{uuid.uuid4()}\nTime:2026-10-29T12:19:06.1234567Z" if first == "account" else ""
            head = "<?xml version='1.0' encoding='utf-8'?>"
            return (
                status,
                "application/xml",
                f"{head}<Error><Code>{code}</Code><Message>{text}</Message></Error>".encode(),
            )
        if first == "api":
            status, error = _CDF.get(rest[2], (404, {"code": 404, "message": "Not found"}))
            if rest[2] in ("missing", "duplicated") and b"pump" in gunzip(content):
                error = error | {rest[2]: [{"externalId": "pump 7"}]}
            return status, "application/json", json.dumps({"error": error}).encode()
        status = int(rest[0]) if first == "status" else 302 if first == "loop" else 200
        return status, "application/json", rest[0].encode() if first == "text" else b"{}"

    do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815 - the names that http.server calls


_AZURE = {
    "BlobNotFound": (404, "The specified blob does not exist."),
    "ContainerNotFound": (404, "The specified container does not exist."),
    "AuthenticationFailed": (
        403,
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.",
    ),
    "AuthorizationPermissionMismatch": (
        403,
        "This request is not authorized to perform this operation using this permission.",
    ),
    "ServerBusy": (503, "The server is busy."),
    "BlobAlreadyExists": (409, "The specified blob already exists."),
    "LeaseIdMissing": (412, "There is currently a lease on the blob and no lease ID was specified in the request."),
}
_AWS = {
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "AccessDenied": (403, "Access Denied"),
    "ExpiredToken": (400, "The provided token has expired."),
}
_CDF: dict[str, tuple[int, dict[str, Any]]] = {
    "401": (401, {"code": 401, "message": "Unauthorized"}),
    "403": (403, {"code": 403, "message": "Resource not found. This may also be due to insufficient access rights."}),
    "500": (500, {"code": 500, "message": "Internal server error"}),
    "400": (
        400,
        {
            "code": 400,
            "message": "Request had 1 constraint violations. Please fix the request and try again. [limit must be less than or equal to 1000]",
        },
    ),
    "missing": (400, {"code": 400, "message": "Asset ids not found", "missing": [{"id": 1}, {"id": 2}]}),
    "duplicated": (409, {"code": 409, "message": "Asset id duplicated", "duplicated": [{"externalId": "a"}]}),
}

_POSTGRES = "host=127.0.0.1 dbname=callframe user=callframe password=" + "callframe"
_MYSQL = {"host": "127.0.0.1", "user": "callframe", "password": "callframe", "database": "callframe"}


@contextmanager
def service() -> Iterator[str]:
    """Serve on loopback what the errors of HTTP need; gives its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Service) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _import(name: str) -> Any:
    return importlib.import_module(name)


def _names(package: str, url: str) -> dict[str, Any]:
    """Import what the lines of a package use."""
    import datetime  # noqa: ICN001, PLC0415
    import io  # noqa: PLC0415

    root = importlib.import_module(package.split(".", maxsplit=1)[0])
    names = {"json": json, "datetime": datetime, "io": io, "url": url, package.split(".", maxsplit=1)[0]: root}
    importlib.import_module(package)
    return names | (_PREPARE[package](url) if package in _PREPARE else {})


def _pydantic(_: str) -> dict[str, Any]:
    pydantic = _import("pydantic")
    fields = {"site": (str, ...), "limit": (int, pydantic.Field(le=1000)), "tags": (list[str], ...)}
    return {"Config": pydantic.create_model("Config", __config__=pydantic.ConfigDict(extra="forbid"), **fields)}


def _sqlalchemy(_: str) -> dict[str, Any]:
    sqlalchemy = _import("sqlalchemy")
    connection = sqlalchemy.create_engine("sqlite://").connect()
    connection.execute(sqlalchemy.text("create table t (a unique)"))
    return {"connection": connection}


def _psycopg(_: str) -> dict[str, Any]:
    psycopg = _import("psycopg")

    def pg(*statements: str) -> None:
        with psycopg.connect(_POSTGRES) as connection:
            for statement in statements:
                connection.execute(statement)

    return {"pg": pg, "postgres": _POSTGRES}


def _pymysql(_: str) -> dict[str, Any]:
    pymysql = _import("pymysql")

    def my(*statements: str) -> None:
        with pymysql.connect(**_MYSQL) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    return {"my": my, "mysql": _MYSQL}


def _cognite(url: str) -> dict[str, Any]:
    from cognite.client import ClientConfig, CogniteClient, global_config  # noqa: PLC0415
    from cognite.client.credentials import Token  # noqa: PLC0415
    from cognite.client.data_classes import AssetWrite  # noqa: PLC0415

    global_config.disable_pypi_version_check = True
    global_config.max_retries = global_config.max_retries_connect = 0

    def cognite_client(project: str, base_url: str = url) -> Any:
        return CogniteClient(ClientConfig("callframe", project, Token("x"), base_url=base_url))

    return {"cognite_client": cognite_client, "Asset": AssetWrite}


def _azure(url: str) -> dict[str, Any]:
    def blob(container: str, name: str = "a.csv", account: str = f"{url}/account") -> Any:
        return _import("azure.storage.blob").BlobClient(account, container, name, credential=None, retry_total=0)

    return {"blob": blob}


def _botocore(url: str) -> dict[str, Any]:
    own = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}

    def s3(code: str, keys: dict[str, str] = own) -> Any:
        config = _import("botocore.config").Config(
            retries={"max_attempts": 0}, s3={"addressing_style": "path"}, connect_timeout=1
        )
        return (
            _import("botocore.session")
            .Session()
            .create_client("s3", "eu-north-1", endpoint_url=f"{url}/aws/{code}", config=config, **keys)
        )

    return {"s3": s3}


def _openpyxl(_: str) -> dict[str, Any]:
    import io  # noqa: PLC0415
    import zipfile  # noqa: PLC0415

    def zipped(name: str) -> io.BytesIO:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(name, "x")
        return content

    return {"zipped": zipped}


def _modules(*modules: str) -> Any:
    """Import submodules, for lines that name them in full."""

    def prepare(_: str) -> dict[str, Any]:
        for name in modules:
            _import(name)
        return {name.split(".", maxsplit=1)[0]: _import(name.split(".", maxsplit=1)[0]) for name in modules}

    return prepare


_PREPARE: dict[str, Any] = {
    "pydantic": _pydantic, "sqlalchemy": _sqlalchemy, "psycopg": _psycopg, "pymysql": _pymysql, "cognite.client": _cognite,
    "azure.storage.blob": _azure, "botocore": _botocore, "openpyxl": _openpyxl, "pymongo": _modules("bson"),
    "pyarrow": _modules("pyarrow.parquet"), "scipy": _modules("scipy.optimize", "scipy.linalg", "scipy.interpolate"),
    "lxml": _modules("lxml.etree"),
}  # fmt: skip


def fail(line: str, names: dict[str, Any]) -> str:
    """Run a line in a function named `handle`; gives the exception as the end of a traceback shows it."""
    import traceback  # noqa: PLC0415

    code = "def handle():\n" + "".join(f"    {one}\n" for one in line.split("\n"))
    scope = dict(names)
    exec(compile(code, "/home/site/wwwroot/handler.py", "exec"), scope)
    try:
        scope["handle"]()
    except (Exception, RecursionError) as error:  # noqa: BLE001 - whatever it is
        return "".join(traceback.format_exception_only(error)).rstrip("\n")
    raise AssertionError(f"{line} did not fail")


def raise_all(packages: Iterable[str], url: str) -> Iterator[Raised]:
    """Raise the errors of packages, of those that can be imported."""
    for package in packages:
        try:
            names = _names(package, url)
        except ImportError:
            continue
        for cause, lines in PARTS[package].items():
            for line in lines:
                yield Raised(package, cause, fail(line, names))


def read_record() -> list[Raised]:
    """Read what `main` wrote."""
    return [Raised(*row) for row in json.loads(RECORD.read_text(encoding="utf-8"))]


def main() -> None:
    """Record every error."""
    with service() as url:
        rows = [one._replace(text=one.text.replace(url[7:], "127.0.0.1:8000")) for one in raise_all(PARTS, url)]
        port = url.rpartition(":")[2]
    rows = [one._replace(text=re.sub(rf"\b{port}\b", "8000", one.text)) for one in rows]
    RECORD.write_text(json.dumps(rows, indent=0, ensure_ascii=True) + "\n", encoding="utf-8")
    print(f"{len(rows)} errors of {len({one.cause for one in rows})} causes")  # noqa: T201


if __name__ == "__main__":
    main()
