-- Whether retries pay off: calls whose first attempt failed, by the error, and how many came to succeed.
SELECT kind, first_error, count() AS calls, countIf(succeeded) AS recovered,
    round(100 * countIf(succeeded) / count(), 1) AS percent, round(avg(attempts), 1) AS attempts
FROM (
    SELECT run_id, kind, call_id, argMin(error_code, attempt) AS first_error, max(status = 'ok') AS succeeded,
        count() AS attempts
    FROM spans
    WHERE kind IN ('model_call', 'tool_call') AND started_at >= '1970-01-01 00:00:00'
    GROUP BY run_id, kind, call_id
    HAVING attempts > 1
) AS calls
GROUP BY kind, first_error
ORDER BY calls DESC, kind, first_error
