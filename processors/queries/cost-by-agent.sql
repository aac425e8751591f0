-- What each agent's runs cost, USD: in all, a run, and at most.
SELECT agent, count() AS runs, round(sum(cost_usd), 6) AS usd, round(avg(cost_usd), 6) AS usd_a_run,
    round(max(cost_usd), 6) AS usd_at_most, countIf(NOT cost_known) AS not_fully_known
FROM runs
WHERE started_at >= '1970-01-01 00:00:00'
GROUP BY agent
ORDER BY usd DESC, agent
