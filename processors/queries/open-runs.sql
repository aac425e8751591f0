-- Runs that have not ended, the longest quiet first, and what they wait for.
SELECT run_id, agent, status, suspended AS waits_for, started_at, updated_at
FROM runs
WHERE ended_at IS NULL AND started_at >= '1970-01-01 00:00:00'
ORDER BY updated_at, run_id
