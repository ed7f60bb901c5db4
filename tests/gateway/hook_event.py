"""Two deliveries in the form that GitHub and Stripe give them, headers and all; names and numbers are made up."""

import json
from typing import Any

GITHUB_HEADERS = {
    "accept": "*/*",
    "content-type": "application/json",
    "user-agent": "GitHub-Hookshot/8f2a1c7",
    "x-github-event": "push",
    "x-github-hook-id": "418273645",
    "x-github-hook-installation-target-id": "700112233",
    "x-github-hook-installation-target-type": "repository",
}
_REPOSITORY = {
    "id": 700112233, "node_id": "R_kgDOKbq1iQ", "name": "ledger", "full_name": "northwind/ledger", "private": True,
    "owner": {
        "name": "northwind", "email": None, "login": "northwind", "id": 9912345, "node_id": "O_kgDOAJc5uQ",
        "avatar_url": "https://avatars.githubusercontent.com/u/9912345?v=4", "gravatar_id": "",
        "url": "https://api.github.com/users/northwind", "html_url": "https://github.com/northwind",
        "type": "Organization", "site_admin": False,
    },
    "html_url": "https://github.com/northwind/ledger", "description": "Books, k\u00e4pt", "fork": False,
    "url": "https://github.com/northwind/ledger", "created_at": 1717146000, "updated_at": "2026-11-20T08:14:03Z",
    "pushed_at": 1795248902, "git_url": "git://github.com/northwind/ledger.git",
    "clone_url": "https://github.com/northwind/ledger.git", "homepage": None, "size": 1843, "stargazers_count": 4,
    "watchers_count": 4, "language": "Python", "has_issues": True, "forks_count": 0, "archived": False,
    "disabled": False, "open_issues_count": 2, "license": None, "topics": [], "visibility": "private", "forks": 0,
    "open_issues": 2, "watchers": 4, "default_branch": "main", "stargazers": 4, "master_branch": "main",
    "organization": "northwind", "custom_properties": {},
}  # fmt: skip
_AUTHOR = {"name": "Aino Virta", "email": "aino@northwind.example", "username": "ainov"}
_COMMIT = {
    "id": "5c1d1f2bb0c9e0d0c0d0e8f3f1a9b7c6d5e4f3a2", "tree_id": "0f9e8d7c6b5a4938271605f4e3d2c1b0a9f8e7d6",
    "distinct": True, "message": "Close the books of October\n\nAnd open November's.",
    "timestamp": "2026-11-21T10:15:02+02:00",
    "url": "https://github.com/northwind/ledger/commit/5c1d1f2bb0c9e0d0c0d0e8f3f1a9b7c6d5e4f3a2",
    "author": _AUTHOR, "committer": _AUTHOR, "added": ["2026/11.csv"], "removed": [], "modified": ["2026/10.csv"],
}  # fmt: skip
GITHUB_PUSH = {
    "ref": "refs/heads/main", "before": "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334", "after": _COMMIT["id"],
    "repository": _REPOSITORY, "pusher": {"name": "ainov", "email": "aino@northwind.example"},
    "organization": {"login": "northwind", "id": 9912345, "url": "https://api.github.com/orgs/northwind"},
    "sender": {"login": "ainov", "id": 5512876, "type": "User", "site_admin": False},
    "created": False, "deleted": False, "forced": False, "base_ref": None,
    "compare": "https://github.com/northwind/ledger/compare/a1b2c3d4e5f6...5c1d1f2bb0c9",
    "commits": [_COMMIT], "head_commit": _COMMIT,
}  # fmt: skip

STRIPE_HEADERS = {
    "accept": "*/*; q=0.5, application/xml",
    "content-type": "application/json; charset=utf-8",
    "cache-control": "no-cache",
    "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
}
_INTENT = {
    "id": "pi_3QNvXk2eZvKYlo2C1kq7Wm0b", "object": "payment_intent", "amount": 109900, "amount_capturable": 0,
    "amount_details": {"tip": {}}, "amount_received": 109900, "application": None, "application_fee_amount": None,
    "automatic_payment_methods": {"allow_redirects": "always", "enabled": True}, "canceled_at": None,
    "cancellation_reason": None, "capture_method": "automatic_async",
    "client_secret": "pi_3QNvXk2eZvKYlo2C1kq7Wm0b_secret_example", "confirmation_method": "automatic",
    "created": 1795248900, "currency": "eur", "customer": "cus_RGSnWq8XyZ1234", "description": "Order 6735",
    "last_payment_error": None, "latest_charge": "ch_3QNvXk2eZvKYlo2C1Qw9Er7t", "livemode": False,
    "metadata": {"order_id": "6735"}, "next_action": None, "on_behalf_of": None,
    "payment_method": "pm_1QNvXj2eZvKYlo2CkZ8Yx7Wv",
    "payment_method_options": {"card": {"installments": None, "network": None, "request_three_d_secure": "automatic"}},
    "payment_method_types": ["card"], "processing": None, "receipt_email": None, "setup_future_usage": None,
    "shipping": None, "source": None, "statement_descriptor": None, "status": "succeeded", "transfer_data": None,
    "transfer_group": None,
}  # fmt: skip
STRIPE_EVENT = {
    "id": "evt_3QNvXk2eZvKYlo2C1R5u9pKd", "object": "event", "api_version": "2026-10-28.acacia", "created": 1795248902,
    "data": {"object": _INTENT}, "livemode": False, "pending_webhooks": 2,
    "request": {"id": "req_Zk3vHq0LrB9aTn", "idempotency_key": "6f1d5ce2-8b0a-4f60-9b0e-2f1f4a0f9b1c"},
    "type": "payment_intent.succeeded",
}  # fmt: skip


def github_body(event: dict[str, Any]) -> bytes:
    """As GitHub writes JSON: without blanks, other scripts as they are."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def stripe_body(event: dict[str, Any]) -> bytes:
    """As Stripe writes JSON: indented by two."""
    return json.dumps(event, indent=2).encode()
