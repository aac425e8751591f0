"""People's SQL: honest questions are answered as the engine itself would, and nothing else gets through."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledgent.processors import sql_functions
from ledgent.processors.sql_guard import LONGEST, checked_select
from ledgent.processors.store import Store, open_store
from ledgent.schemas.errors import SqlRefused, StoreQueryRefused

TABLES = frozenset({"runs", "events", "spans"})

# (what is asked, a part of the answer)
REFUSED = [
    # not one SELECT
    ("", "exactly one statement"),
    (";", "exactly one statement"),
    ("-- nothing", "exactly one statement"),
    ("SELECT 1; SELECT 2", "exactly one statement"),
    ("SELECT 1;; DROP TABLE runs", "exactly one statement"),
    ("SELECT (1) INTO OUTFILE 'f'; SELECT (1)", "cannot be read"),
    ("SELECT 1) INTO OUTFILE 'f'; SELECT (1", "cannot be read"),
    ("SELECT 1 INTO OUTFILE 'f'", "cannot be read"),
    ("SELECT 1 /**/INTO/**/OUTFILE 'f' FORMAT CSV", "cannot be read"),
    ("SELECT 1 INTO DUMPFILE 'f'", "cannot be read"),
    ("KILL QUERY WHERE 1", ""),
    ("DROP TABLE runs", "only SELECT"),
    ("INSERT INTO runs SELECT * FROM runs", "only SELECT"),
    ("INSERT INTO FUNCTION file('f') SELECT 1", "only SELECT"),
    ("CREATE TABLE t ENGINE = Memory AS SELECT 1", "only SELECT"),
    ("ALTER TABLE runs DELETE WHERE 1", "only SELECT"),
    ("TRUNCATE TABLE runs", "only SELECT"),
    ("SET readonly = 0", "only SELECT"),
    ("USE system", "only SELECT"),
    ("SYSTEM SHUTDOWN", ""),
    ("EXPLAIN SELECT 1", "only SELECT"),
    ("DESCRIBE runs", "only SELECT"),
    ("SHOW TABLES", "only SELECT"),
    ("GRANT ALL ON *.* TO me", "only SELECT"),
    ("(SELECT 1) DROP", ""),
    # endings of a SELECT that say how it runs or where it goes
    ("SELECT 1 FORMAT CSV", "FORMAT is not allowed"),
    ("SELECT 1 SETTINGS readonly = 0", "SETTINGS is not allowed"),
    ("SELECT * FROM (SELECT 1 SETTINGS max_execution_time = 0)", "SETTINGS is not allowed"),
    ("(SELECT 1) SETTINGS a = 1", "SETTINGS is not allowed"),
    ("SELECT 1 UNION ALL SELECT 2 SETTINGS a = 1", "SETTINGS is not allowed"),
    ("SELECT 1 UNION ALL (SELECT 2 FORMAT Null)", "FORMAT is not allowed"),
    ("SELECT * FROM runs SAMPLE 0.1", "SAMPLE is not allowed"),
    ("SELECT {x:String}", "is not allowed"),
    ("SELECT @@version", "is not allowed"),
    # other tables
    ("SELECT * FROM system.users", "without a database"),
    ("SELECT * FROM SYSTEM.users", "without a database"),
    ("SELECT * FROM `system`.`users`", "without a database"),
    ("SELECT * FROM ledgent.runs", "without a database"),
    ('SELECT * FROM "system.users"', "no table 'system.users'"),
    ("SELECT * FROM information_schema.tables", "without a database"),
    ("SELECT * FROM positions", "no table 'positions'"),
    ("SELECT * FROM Runs", "no table 'Runs'"),
    ("SELECT * FROM runs, system.users", "without a database"),
    ("SELECT * FROM runs JOIN system.users AS u ON 1 = 1", "without a database"),
    ("SELECT (SELECT count() FROM system.users)", "without a database"),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM system.users)", "without a database"),
    ("SELECT 1 FROM runs WHERE 1 IN (SELECT 1 FROM system.users)", "without a database"),
    ("WITH t AS (SELECT * FROM system.users) SELECT * FROM t", "without a database"),
    ("SELECT 1 UNION ALL SELECT name FROM system.users", "without a database"),
    ("SELECT * FROM (SELECT * FROM (SELECT * FROM system.users))", "without a database"),
    # IN, whose right side may be a table
    ("SELECT 1 IN system.one", "IN takes a list"),
    ("SELECT 1 IN positions", "IN takes a list"),
    ("SELECT 1 IN (positions)", "IN takes a list"),
    ("SELECT 1 NOT IN positions", "IN takes a list"),
    ("SELECT 1 GLOBAL IN positions", ""),
    ("SELECT (1, 2) IN ((1, 2), positions)", "IN takes a list"),
    ("SELECT in(1, positions)", ""),
    ("SELECT notIn(1, positions)", "notIn()"),
    # WITH, whose names hide tables in some places and not in others
    ("WITH positions AS (SELECT * FROM positions) SELECT * FROM positions", "no table 'positions'"),
    ("WITH a AS (SELECT * FROM positions), positions AS (SELECT 1) SELECT * FROM a", "no table 'positions'"),
    ("SELECT * FROM (WITH positions AS (SELECT 1) SELECT 1) UNION ALL SELECT * FROM positions", "no table 'positions'"),
    ("WITH Positions AS (SELECT 1) SELECT * FROM positions", "no table 'positions'"),
    ("WITH (SELECT 1) AS positions SELECT * FROM positions", "no table 'positions'"),
    ("WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) SELECT * FROM t", ""),
    # table functions
    ("SELECT * FROM url('http://127.0.0.1/', 'CSV')", "table functions"),
    ("SELECT * FROM URL('http://127.0.0.1/')", "table functions"),
    ("SELECT * FROM `url`('http://127.0.0.1/')", "table functions"),
    ("SELECT * FROM file('/etc/passwd', 'LineAsString')", "table functions"),
    ("SELECT * FROM/**/file/**/('/etc/passwd')", "table functions"),
    ("SELECT * FROM remote('127.0.0.1', system.users)", "table functions"),
    ("SELECT * FROM s3('https://x/y')", "table functions"),
    ("SELECT * FROM mysql('h:3306', 'd', 't', 'u', 'p')", "table functions"),
    ("SELECT * FROM executable('x', 'TSV', 'a String')", "table functions"),
    ("SELECT * FROM cluster('c', system.users)", "table functions"),
    ("SELECT * FROM merge('system', '.*')", "table functions"),
    ("SELECT * FROM Python(x)", "table functions"),
    ("SELECT * FROM numbers(1000000000000)", "table functions"),
    ("SELECT * FROM runs AS r, url('http://127.0.0.1/')", "table functions"),
    ("SELECT * FROM values('a Int8', 1)", "only tables and subqueries"),
    ("SELECT * FROM VALUES (1)", "only tables and subqueries"),
    ("WITH t AS (SELECT * FROM file('x')) SELECT * FROM t", "table functions"),
    # functions
    ("SELECT file('/etc/passwd')", "file()"),
    ("SELECT FILE('/etc/passwd')", "FILE()"),
    ("SELECT `file`('/etc/passwd')", "file()"),
    ("SELECT \"file\"('/etc/passwd')", "file()"),
    ("SELECT dictGet('d', 'a', 1)", "dictGet()"),
    ("SELECT joinGet('db.t', 'a', 1)", "joinGet()"),
    ("SELECT sleep(3)", "sleep()"),
    ("SELECT sleepEachRow(3) FROM runs", "sleepEachRow()"),
    ("SELECT getSetting('readonly')", "getSetting()"),
    ("SELECT hostName(), version()", "hostName()"),
    ("SELECT currentUser()", "()"),
    ("SELECT AIGenerate('x')", "AIGenerate()"),
    ("SELECT throwIf(1)", "throwIf()"),
    ("SELECT arrayMap(x -> file(x), ['/etc/passwd'])", "file()"),
    ("SELECT count() FROM runs HAVING file('x') = ''", "file()"),
    ("SELECT * FROM runs ORDER BY file('x')", "file()"),
    ("SELECT * FROM runs LIMIT toUInt64(file('x'))", "()"),
    ("SELECT sum(1) OVER (PARTITION BY file('x')) FROM runs", "file()"),
    ("SELECT * APPLY(file) FROM runs", "()"),
    ("SELECT arrayReduce('aggThrow', [1])", "arrayReduce()"),
    ("SELECT 1 AS x, x.file('y')", "file()"),
    ("SELECT run_id.lower(status) FROM runs", ".lower()"),
    # what looks different to us and to the engine
    ("SELECT “'” , (SELECT 1 FROM system.users) , “'”", "is not ASCII"),
    ("SELECT \u2018a\u2019", "is not ASCII"),
    ("SELECT \uff55\uff52\uff4c('x')", "is not ASCII"),
    ('SELECT 1 AS "a\\" , (SELECT 1 FROM system.users) AS "b"', ""),
    ("SELECT 1 AS `a\\` , (SELECT 1 FROM system.users) AS `b`", ""),
    ("SELECT 1 AS `a\"b`", "holds a quote"),
    ("SELECT 1 AS `a\nb`", ""),
    ("SELECT 1\0; DROP TABLE runs", ""),
    ("SELECT 1 # ; \n FROM system.users", "without a database"),
    # too much
    ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "nested too deeply"),
    ("SELECT " + "1," * LONGEST, "longer than"),
    ("SELECT Map(x y)", "cannot be read"),
    ("SELECT 'never ended", "cannot be read"),
    ("SELECT * FROM", "cannot be read"),
]  # fmt: skip

# What people ask. Each is run as written and as rewritten, and the answers compared.
HONEST = [
    "SELECT 1",
    "select run_id, status from runs order by run_id",
    "SELECT * FROM runs FINAL WHERE status != 'completed' ORDER BY run_id LIMIT 5 OFFSET 1",
    "FROM runs SELECT count()",
    "SELECT status, count(), sum(tokens), avg(cost) FROM runs GROUP BY status HAVING count() > 0 ORDER BY 1 -- why",
    "SELECT count(DISTINCT status), uniqExact(status), countIf(status = 'failed'), sumIf(tokens, cost > 1) FROM runs",
    "SELECT quantile(0.5)(tokens), quantiles(0.5, 0.9)(tokens), quantileExact(0.9)(tokens), median(tokens) FROM runs",
    "SELECT argMax(run_id, started), groupUniqArray(3)(status) = [], topK(1)(status), any(agent) FROM runs",
    "SELECT toStartOfHour(started) AS h, toStartOfMinute(started), toDate(started), count() FROM runs GROUP BY ALL"
    " ORDER BY ALL",
    "SELECT toStartOfInterval(started, INTERVAL 5 MINUTE) AS t, max(tokens) FROM runs GROUP BY t ORDER BY t",
    "SELECT date_trunc('day', started), formatDateTime(started, '%Y-%m-%d %H:%i'), toUnixTimestamp(started) FROM runs",
    "SELECT dateDiff('second', started, ended), ended - INTERVAL 1 DAY, started + toIntervalHour(2) FROM runs",
    "SELECT run_id FROM runs WHERE started >= '2026-01-01' AND started < toDateTime64('2026-01-02 00:00:00', 6, 'UTC')",
    "SELECT run_id FROM runs WHERE status IN ('failed', 'limited') OR status NOT IN ('completed') ORDER BY run_id",
    "SELECT run_id FROM runs WHERE (run_id, status) IN (SELECT run_id, 'failed' FROM events) ORDER BY run_id",
    "SELECT r.run_id, e.type FROM runs AS r INNER JOIN events AS e ON r.run_id = e.run_id ORDER BY ALL",
    "SELECT run_id, count() FROM runs LEFT JOIN events USING (run_id) GROUP BY run_id ORDER BY run_id",
    "SELECT run_id FROM runs ANY LEFT JOIN events USING run_id ORDER BY run_id",
    "SELECT run_id, s.kind FROM events ASOF JOIN spans AS s ON events.run_id = s.run_id AND events.at >= s.at",
    "SELECT * EXCEPT (started, ended) FROM runs ORDER BY run_id",
    "SELECT COLUMNS('^c') FROM runs ORDER BY run_id",
    "SELECT JSONExtractString(payload, 'model'), JSONExtractInt(payload, 'usage', 'input') FROM events ORDER BY seq",
    "SELECT JSONExtract(payload, 'usage', 'input', 'Int64'), JSON_VALUE(payload, '$.model'), JSONHas(payload, 'a')"
    " FROM events ORDER BY seq",
    "SELECT JSONExtractString(payload, 'it\\'s \\\\ odd'), JSONExtractRaw(payload, 'a'', b') FROM events ORDER BY seq",
    "SELECT arrayMap(t -> upper(t), tags), arrayFilter(t -> t LIKE 'b%', tags), has(tags, 'a'), tags[1] FROM runs",
    "SELECT run_id, tag FROM runs ARRAY JOIN tags AS tag ORDER BY run_id, tag",
    "SELECT run_id, arrayJoin(tags) AS tag FROM runs ORDER BY run_id, tag",
    "SELECT labels['team'], mapKeys(labels), mapContains(labels, 'team'), map('a', 1)['a'] FROM runs ORDER BY run_id",
    "SELECT if(tokens > 5, 'many', 'few'), multiIf(tokens > 9, 3, tokens > 5, 2, 1), tokens > 3 ? 1 : 0 FROM runs",
    "SELECT CASE status WHEN 'failed' THEN 1 ELSE 0 END, CASE WHEN tokens > 3 THEN 'x' END FROM runs ORDER BY run_id",
    "SELECT coalesce(error, 'none'), ifNull(error, ''), nullIf(status, 'failed'), error IS NULL FROM runs",
    "SELECT lower(status) || '!', concat(status, '-', agent), substring(status, 1, 3), position(status, 'a') FROM runs",
    "SELECT replaceAll(status, 'e', 'E'), splitByChar('e', status), match(status, '^f.*d$'), length(status) FROM runs",
    "SELECT status ILIKE '%FAIL%', status LIKE 'a\\\\_b', startsWith(status, 'f'), trim(BOTH ' ' FROM ' x ') FROM runs",
    "SELECT round(cost, 2), floor(cost), abs(-cost), - -1, 1 - -1, intDiv(7, 2), 7 % 4, 2 * (3 + 4) FROM runs",
    "SELECT tokens::Float64 / 3, CAST(tokens AS String), toUInt8(tokens), tokens::Nullable(Int64) FROM runs",
    "SELECT run_id, row_number() OVER (PARTITION BY status ORDER BY run_id) AS n,"
    " sum(tokens) OVER (ORDER BY run_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM runs ORDER BY run_id",
    "SELECT run_id, lagInFrame(tokens) OVER w FROM runs WINDOW w AS (ORDER BY run_id) ORDER BY run_id",
    "WITH failed AS (SELECT run_id FROM runs WHERE status = 'failed'), counted AS (SELECT count() AS n FROM failed)"
    " SELECT n FROM counted UNION ALL SELECT count() FROM failed",
    "WITH 5 AS low, (SELECT max(tokens) FROM runs) AS high SELECT run_id FROM runs WHERE tokens BETWEEN low AND high",
    "SELECT count() FROM (SELECT run_id FROM runs UNION DISTINCT SELECT run_id FROM events) AS both",
    "SELECT run_id FROM runs EXCEPT SELECT run_id FROM events",
    "SELECT run_id FROM runs INTERSECT SELECT run_id FROM events ORDER BY run_id",
    "SELECT status, count() FROM runs GROUP BY status WITH TOTALS ORDER BY status",
    "SELECT status, agent, count() FROM runs GROUP BY ROLLUP(status, agent) ORDER BY ALL",
    "SELECT DISTINCT status FROM runs ORDER BY status DESC NULLS LAST",
    "SELECT run_id FROM runs ORDER BY status LIMIT 1 BY status",
    "SELECT 'it''s', 'a\\'b', 'c\\\\', '\\x41', '\\t\\n', $$here 'and' \\there$$, '“ü” -- ; /* */', 'DROP TABLE runs;'",
    'SELECT tokens AS "how many", `agent` AS `select` FROM runs AS "the runs" ORDER BY "how many"',
    "SELECT toHour(started) AS hour, bar(count(), 0, 9, 5) FROM runs GROUP BY hour ORDER BY hour WITH FILL TO 3",
    "SELECT exists(SELECT 1 FROM runs), not(1 = 2), true AND NOT false, NULL, [1, 2], (1, 'a'), tuple(1).1",
    "SELECT/* a comment */1/* another ; */;",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(f"chdb:///{tmp_path_factory.mktemp('guard') / 'store'}") as store:
        for sql in (
            "CREATE TABLE runs (run_id String, status LowCardinality(String), agent String,"
            " started DateTime64(6, 'UTC'), ended DateTime64(6, 'UTC'), tokens UInt64, cost Float64,"
            " error Nullable(String), tags Array(String), labels Map(String, String))"
            " ENGINE = ReplacingMergeTree ORDER BY run_id",
            "CREATE TABLE events (run_id String, seq UInt64, at DateTime64(6, 'UTC'), type String, payload String)"
            " ENGINE = MergeTree ORDER BY (run_id, seq)",
            "CREATE TABLE spans (run_id String, at DateTime64(6, 'UTC'), kind String)"
            " ENGINE = MergeTree ORDER BY run_id",
            "CREATE TABLE positions (secret String) ENGINE = Memory",
            "INSERT INTO runs SELECT 'r' || toString(number), ['completed', 'failed', 'limited'][number % 3 + 1],"
            " 'shop', toDateTime64('2026-01-01 00:00:00.5', 6, 'UTC') + number * 977 AS started, started + 60,"
            " number, number / 3, number % 2 ? 'broken' : NULL, ['a', 'b'], map('team', 'blue') FROM numbers(12)",
            "INSERT INTO events SELECT 'r' || toString(number), number, '2026-01-01 01:00:00', 'model_call.completed',"
            """ '{"model": "m", "usage": {"input": 7}, "it\\'s \\\\\\\\ odd": "x", "a\\', b": [1]}' FROM numbers(6)""",
            "INSERT INTO spans SELECT 'r' || toString(number), '2026-01-01 00:30:00', 'model' FROM numbers(6)",
            "INSERT INTO positions VALUES ('not for people')",
        ):
            store.command(sql)
        yield store


@pytest.mark.parametrize(("sql", "because"), REFUSED)
def test_refused(sql: str, because: str) -> None:
    with pytest.raises(SqlRefused) as caught:
        checked_select(sql, tables=TABLES)
    assert because in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("sql", HONEST)
def test_answered_as_the_engine_itself_would(store: Store, sql: str) -> None:
    answer = store.query_people(sql, tables=TABLES)
    plain = [tuple(row.values()) for row in store.query(sql.rstrip(";"))]
    assert repr(answer.rows) == repr(plain)
    assert answer.rows


@pytest.mark.parametrize("sql", HONEST)
def test_the_engine_finds_no_other_tables_in_it_than_we_do(store: Store, sql: str) -> None:
    written = checked_select(sql, tables=TABLES)
    tree = [row["explain"].split() for row in store.query(f"SELECT explain FROM (EXPLAIN AST {written})")]
    found = {words[1] for words in tree if words[0] == "TableIdentifier"}
    assert found <= TABLES | {"failed", "counted", "system.one"}  # two names of a WITH; what no FROM means


def test_what_runs_says_the_same_when_it_is_checked_again() -> None:
    for sql in HONEST:
        written = checked_select(sql, tables=TABLES)
        assert checked_select(written, tables=TABLES) == written


def test_every_allowed_function_is_one_of_the_engine(store: Store) -> None:
    rows = store.query("SELECT lower(name) AS name, lower(alias_to) AS alias, is_aggregate FROM system.functions")
    known = {row["name"] for row in rows} | {row["alias"] for row in rows}
    aggregates = {row["name"] for row in rows if row["is_aggregate"]}
    # Syntax that looks like a function, and names that the engine resolves before it looks them up.
    syntax = {"date_add", "date_sub", "dateadd", "datesub"}
    syntax |= {"timestamp_add", "timestamp_sub", "timestampadd", "timestampsub"}
    maps = {"maxmap", "minmap", "summap"}
    assert sql_functions.FUNCTIONS - sql_functions.TYPES - known - syntax - maps == set()
    assert sql_functions.AGGREGATES - aggregates - maps == set()


@pytest.mark.parametrize("name", ["countIf", "sumIfOrNull", "quantilesTDigestIf", "groupArrayDistinct", "ANY"])
def test_aggregates_may_take_their_usual_endings(name: str) -> None:
    assert sql_functions.is_allowed(name)


@pytest.mark.parametrize("name", ["fileIf", "countState", "Distinct", "sumIfFile", "lowerIf", ""])
def test_other_functions_may_not(name: str) -> None:
    assert not sql_functions.is_allowed(name)


def test_the_engine_itself_holds_the_line_if_we_miss_something(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "out"
    for sql in (f"SELECT 1 INTO OUTFILE '{file}'", "KILL QUERY WHERE 1", "DROP TABLE runs", "SELECT 1; SELECT 2"):
        with pytest.raises(StoreQueryRefused):
            store.query(sql, settings={"readonly": 1})
    assert not file.exists()
