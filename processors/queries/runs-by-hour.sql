-- How many runs began each hour, and how they ended.
SELECT toStartOfHour(started_at) AS hour, count() AS runs, countIf(status = 'completed') AS completed,
    countIf(status = 'failed') AS failed, countIf(status = 'cancelled') AS cancelled,
    countIf(status = 'limited') AS limited, countIf(ended_at IS NULL) AS open
FROM runs
WHERE started_at >= '1970-01-01 00:00:00'
GROUP BY hour
ORDER BY hour DESC
