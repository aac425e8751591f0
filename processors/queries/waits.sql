-- What runs wait for, and how long, milliseconds.
SELECT kind, name, count() AS waits, round(median(duration_ms), 1) AS median_ms, round(max(duration_ms), 1) AS max_ms,
    round(sum(duration_ms)) AS total_ms
FROM spans
WHERE endsWith(kind, '_wait') AND duration_ms IS NOT NULL AND started_at >= '1970-01-01 00:00:00'
GROUP BY kind, name
ORDER BY total_ms DESC, kind, name
