-- Runs that more than one process has held, and records that came too late to count.
SELECT run_id, agent, status, epochs AS claims, fenced, broken, updated_at
FROM runs
WHERE (epochs > 1 OR fenced > 0 OR broken > 0) AND started_at >= '1970-01-01 00:00:00'
ORDER BY fenced + broken DESC, epochs DESC, run_id
LIMIT 100
