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
         "Write down what is yours to decide."),
        ("dashboards", OPERATIONS, "Does a dashboard show lag, errors, dead letters and pool use?",
         "/metrics has the figures."),
        ("alerts", OPERATIONS, "Do alerts with thresholds reach somebody?",
         "Send one on purpose and see who answers."),
        ("capacity", OPERATIONS, "Is it planned how the log grows, and when the disk is full?",
         "docs/log-growth.md has the figures per event."),
        ("disaster_recovery", OPERATIONS, "Was the recovery from a disaster rehearsed?",
         "Restore to a point in time, run manage.py verify_events, start the workers."),
        ("on_call", OPERATIONS, "Who is on call, and who after them?",
         "Name people and hours where everybody finds them."),
    )
)  # fmt: skip
