"""What no program can see: asked of people, each with where to begin."""

from typing import Final

from eventsource_app.checks.readiness.item import INFRASTRUCTURE, OPERATIONS, Item, Verdict

QUESTIONS: Final = tuple(
    Item(name, area, question, Verdict.ASK, sentence)
    for name, area, question, sentence in (
        ("base_backup", INFRASTRUCTURE, "How old is the last base backup, and was one ever restored?",
         "The server does not tell: ask whoever makes the backups."),
        ("secrets_management", INFRASTRUCTURE, "Do secrets come from a secrets manager?",
         "Any of them can be read from a file: DATABASE_URL_FILE, SECRET_KEY_FILE."),
        ("network", INFRASTRUCTURE, "Can only the application reach the database, and only the ingress the application?",
         "Look at firewall rules, pg_hba.conf and the network policy."),
        ("runbook", OPERATIONS, "Is there a runbook for deploying, rolling back, scaling and restoring?",
         "docs/runbook.md is one to begin with."),
        ("dashboards", OPERATIONS, "Does a dashboard show lag, errors, dead letters and pool use?",
         "deploy/grafana/dashboard.json is one to import; /metrics has the figures."),
        ("alerts", OPERATIONS, "Do alerts with thresholds reach somebody?",
         "deploy/prometheus/alerts.yaml has them; send one on purpose and see who answers."),
        ("capacity", OPERATIONS, "Is it planned how the log grows, and when the disk is full?",
         "docs/log-growth.md has the bytes per event, docs/runbook.md a worksheet."),
        ("disaster_recovery", OPERATIONS, "Was the recovery from a disaster rehearsed?",
         "`make drill` does it here; do it with your own backups, and run manage.py verify_events."),
        ("on_call", OPERATIONS, "Who is on call, and who after them?",
         "Name people and hours where everybody finds them."),
    )
)  # fmt: skip
