-- What model calls that were lost in a crash, and made again, may have cost besides what is known.
SELECT agent, count() AS runs, sum(maybe_tokens) AS tokens, round(sum(maybe_cost_usd), 6) AS maybe_usd,
    round(sum(cost_usd), 6) AS known_usd, round(100 * sum(maybe_cost_usd) / nullIf(sum(cost_usd), 0), 1) AS percent, max(started_at) AS latest
FROM runs
WHERE maybe_tokens > 0 AND started_at >= '1970-01-01 00:00:00'
GROUP BY agent
ORDER BY maybe_usd DESC, agent
