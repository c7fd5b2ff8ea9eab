"""Prints plans and reports of replays and redrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from producers.cli.output import print_facts, print_json, print_rows

if TYPE_CHECKING:
    from producers.replay.plan import ReplayPlan
    from producers.replay.reporting import ReplayReport
    from producers.replay.running import Preview


def plan_facts(plan: ReplayPlan) -> dict[str, object]:
    return {
        "messages": plan.messages,
        "tenants": plan.tenants,
        **{f"  {name}": count for name, count in plan.topics.items()},
        **{f"  {name}": count for name, count in sorted(plan.types.items())},
        "left out, tenant purged": tuple(f"{held.tenant} ({held.status}, {held.events})" for held in plan.excluded),
        "left out, repeated": plan.repeated,
        "left out, unreadable": plan.unreadable,
        "left out, too large for a letter": plan.too_large,
        "left out, sent again before": plan.redriven,
    }


def say_what_letters_lack(plan: ReplayPlan) -> None:
    """One line, where there are letters that cannot be sent since they do not hold their messages."""
    if plan.too_large:
        typer.echo(
            f"{plan.too_large} letters do not hold their messages, which are too large for one, and are not sent: "
            "`sano dlq list --reason too-large` says where the messages lie"
        )


def print_preview(preview: Preview, *, json: bool) -> None:
    if json:
        return print_json(preview)
    print_facts(
        {
            "would be sent": preview.messages,
            "sent before": preview.sent_before,
            "left out, tenant purged": preview.excluded,
        }
    )
    return typer.echo("\nnothing is sent; --execute sends")


def print_report(done: ReplayReport, *, json: bool) -> None:
    if json:
        return print_json(done)
    print_facts(
        {
            "replay": done.replay_id,
            "status": f"{done.status}{f' ({done.reason})' if done.reason else ''}",
            "sent": f"{done.sent} of {done.planned}",
            **{f"  left out, {what}": count for what, count in done.left_out.items()},
            "effects": done.effects,
            "no-ops": done.no_ops,
            "refusals": done.refusals,
            "dead letters": done.dead_letters,
            **{
                f"  {consumer}": tuple(f"{count} {outcome}" for outcome, count in counts.items())
                for consumer, counts in done.consumers.items()
            },
            "no outcome": tuple(f"{count} {name}" for name, count in done.unanswered.items()),
        }
    )
    if done.noted:
        print_rows(
            done.noted,
            {
                "event": lambda held: held.event_id,
                "type": lambda held: held.type,
                "subject": lambda held: held.subject,
                "consumer": lambda held: held.consumer,
                "outcome": lambda held: held.outcome,
            },
        )
    return None
