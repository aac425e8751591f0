-- Why runs ended: status, and the error or the limit behind it.
SELECT agent, status, multiIf(error_code != '', error_code, limit_reached) AS reason, count() AS runs
FROM runs
WHERE ended_at IS NOT NULL AND started_at >= '1970-01-01 00:00:00'
GROUP BY agent, status, reason
ORDER BY runs DESC, agent, status, reason
