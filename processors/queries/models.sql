-- What each model does: attempts, errors, latency and time to the first token, milliseconds.
SELECT name AS model, count() AS attempts, countIf(status = 'error') AS failed,
    round(100 * countIf(status = 'error') / count(), 1) AS percent_failed,
    round(quantileExactIf(0.5)(duration_ms, status = 'ok'), 1) AS p50_ms,
    round(quantileExactIf(0.95)(duration_ms, status = 'ok'), 1) AS p95_ms,
    round(quantileExactIf(0.5)(first_token_ms, first_token_ms IS NOT NULL), 1) AS first_token_p50_ms
FROM spans
WHERE kind = 'model_call' AND started_at >= '1970-01-01 00:00:00'
GROUP BY model
ORDER BY attempts DESC, model
