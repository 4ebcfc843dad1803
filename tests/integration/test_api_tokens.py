"""Who may use the API: tokens with scopes that can be ended, sessions of the admin's users, and nobody else."""

import getpass
import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from eventsource_app.http import callers, tokens
from eventsource_app.http.tokens import (
    Principal,
    TokenError,
    create_token,
    find_tokens,
    principal_of,
    revoke_tokens,
)
from eventsource_app.models import ApiToken, Event
from tests.integration.conftest import ConfigureApi
from tests.integration.http_api import SCOPES, assert_problem, client, place, post
from tests.round_trips import round_trips

pytestmark = pytest.mark.django_db
ORDER = {"customer_id": "c", "total": "1"}
GETS = [
    "/orders",
    "/orders/00000000-0000-4000-8000-000000000000",
    "/orders/00000000-0000-4000-8000-000000000000/events",
    "/customers/c",
]
POSTS = [
    "/orders",
    *(f"/orders/00000000-0000-4000-8000-000000000000/{verb}" for verb in ("ship", "deliver", "cancel")),
]


def nobody(**headers: str) -> Client:
    return Client(raise_request_exception=False, headers=headers)


def forget_what_was_read() -> None:
    """As a second later."""
    tokens.known.clear()


def make(*arguments: str) -> str:
    out = StringIO()
    call_command("api_token", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


# Refused


@pytest.mark.parametrize("url", GETS)
def test_a_question_without_credentials_is_401(url: str) -> None:
    response = nobody().get(url)
    assert_problem(response, 401, "Bearer")
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("url", POSTS)
def test_a_command_without_credentials_is_401_before_anything_is_read(url: str) -> None:
    assert_problem(post(nobody(), url, "{", **{"Idempotency-Key": "a b"}), 401)
    assert Event.objects.count() == 0


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        f"Bearer est_{'a' * 10}_{'b' * 43}",
        "Basic YTpi",
        "Token x",
        "\xff",
        "Bearer \x00",
        "Bearer " + "x" * 4000,
    ],
)
def test_credentials_that_are_none_are_401(header: str) -> None:
    response = nobody(Authorization=header).get("/orders")
    assert_problem(response, 401)
    assert response["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'


@pytest.mark.parametrize(("has", "lacks"), [("orders:read", "orders:write"), ("orders:write", "orders:read")])
def test_a_scope_that_the_token_lacks_is_403(has: str, lacks: str) -> None:
    api = client(has)
    answers = {"orders:read": api.get("/orders"), "orders:write": post(api, "/orders", ORDER)}
    assert answers[has].status_code in (200, 201)
    assert_problem(answers[lacks], 403, lacks)
    assert f'error="insufficient_scope", scope="{lacks}"' in answers[lacks]["WWW-Authenticate"]


def test_a_wrong_secret_behind_a_known_prefix_is_401() -> None:
    token = create_token("a", SCOPES).text
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert_problem(nobody(Authorization=f"Bearer {wrong}").get("/orders"), 401)


def test_a_revoked_token_ends_at_once_here_and_a_second_later_elsewhere(api: Client) -> None:
    assert api.get("/orders").status_code == 200
    ApiToken.objects.update(revoked_at=timezone.now())  # by another process
    assert api.get("/orders").status_code == 200
    forget_what_was_read()
    assert_problem(api.get("/orders"), 401)


def test_an_expired_token_is_401() -> None:
    api = client()
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert_problem(api.get("/orders"), 401)


def test_a_process_believes_what_it_read_for_a_second_only(api: Client, configure_api: ConfigureApi) -> None:
    configure_api(token_cache_seconds=0)
    assert api.get("/orders").status_code == 200
    ApiToken.objects.update(revoked_at=timezone.now())
    assert_problem(api.get("/orders"), 401)


def test_where_the_settings_say_so_nobody_need_say_who_they_are(configure_api: ConfigureApi) -> None:
    configure_api(authentication_required=False)
    first, again = (post(nobody(), "/orders", ORDER, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, again.content) == (201, first.content)
    assert_problem(nobody(Authorization="Bearer x").get("/orders"), 401)


@pytest.mark.parametrize("url", ["/health", "/health/ready", "/health/live"])
def test_the_probes_stay_open(url: str) -> None:
    assert nobody().get(url).status_code in (200, 503)


@pytest.mark.parametrize(
    ("url", "what"), [("/api/docs", "docs"), ("/api/openapi.json", "docs"), ("/metrics", "metrics")]
)
def test_documentation_and_metrics_are_open_or_not_by_setting(
    url: str, what: str, api: Client, configure_api: ConfigureApi
) -> None:
    assert nobody().get(url).status_code == 200
    configure_api(**{what: "token"})
    assert_problem(nobody().get(url), 401)
    assert api.get(url).status_code == 200
    assert desk_user().get(url).status_code == 200
    configure_api(**{what: "token"}, authentication_required=False)
    assert_problem(nobody().get(url), 401)
    configure_api(**{what: "off"})
    assert_problem(api.get(url), 404)


# What is kept


def test_of_a_token_only_a_digest_is_kept() -> None:
    text = create_token("a", SCOPES).text
    secret = text.rpartition("_")[2]
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text FROM eventsource_app_apitoken t")
        assert secret not in str(cursor.fetchall())
    assert re.fullmatch(r"est_[a-z2-7]{10}_[\w-]{43}", text)


def test_a_use_is_noted_once_a_minute_and_not_per_request(api: Client) -> None:
    def noted() -> Any:
        forget_what_was_read()
        assert api.get("/orders").status_code == 200
        return ApiToken.objects.get().last_used_at

    first = noted()
    assert first is not None
    assert noted() == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    assert noted() > first - timedelta(minutes=1)


@pytest.mark.django_db(transaction=True)
def test_a_known_token_costs_no_round_trip(api: Client, configure_api: ConfigureApi) -> None:
    configure_api(token_cache_seconds=600)
    for _ in range(2):
        api.get("/orders")
    assert round_trips(lambda: api.get("/orders")) == 1


def test_the_events_say_who_did_it() -> None:
    place(client(name="Ada's shop".replace("'", "")))
    assert Event.objects.get().actor_id == "token:Adas shop"
    place(client(name="other"))
    assert Event.objects.order_by("-position")[0].actor_id == "token:other"


def test_two_tokens_of_one_name_are_one_caller_and_two_names_are_two() -> None:
    callers = [client(name=name) for name in ("a", "a", "b")]
    answers = [post(api, "/orders", ORDER, **{"Idempotency-Key": "k"}).json()["order_id"] for api in callers]
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize(
    ("name", "scopes", "sentence"),
    [
        ("", SCOPES, "is no name"),
        ("a\nb", SCOPES, "is no name"),
        ("x" * 101, SCOPES, "is no name"),
        ("a", (), "no"),
    ],
)
def test_an_impossible_token_is_refused(name: str, scopes: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(TokenError, match=sentence):
        create_token(name, scopes)


# The command


def test_the_command_makes_a_token_that_works_and_prints_nothing_else() -> None:
    token = make("create", "shop")
    assert nobody(Authorization=f"Bearer {token}").get("/orders").status_code == 200
    row = ApiToken.objects.get()
    assert row.scopes == list(SCOPES)
    assert row.expires_at is not None
    assert timedelta(days=89) < row.expires_at - timezone.now() < timedelta(days=90)


@pytest.mark.parametrize("error", [KeyError("uid not found: 10001"), OSError("No username set")])
def test_the_command_works_for_a_containers_number_without_a_name(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def nameless() -> str:
        raise error  # the first is Python 3.11's and 3.12's, the other 3.13's

    monkeypatch.setattr(getpass, "getuser", nameless)

    token = make("create", "shop")

    assert nobody(Authorization=f"Bearer {token}").get("/orders").status_code == 200
    assert "Revoked shop" in make("revoke", "shop")
    assert set(ApiToken.objects.values_list("created_by", "revoked_by")) == {("unknown", "unknown")}


def test_the_command_takes_scopes_and_a_lifetime() -> None:
    document = json.loads(make("create", "shop", "--scope", "orders:read", "--days", "1", "--json"))
    principal = principal_of(document["token"])
    assert principal is not None
    assert principal.scopes == {"orders:read"}
    assert make("create", "always", "--no-expiry")
    assert ApiToken.objects.get(name="always").expires_at is None


@pytest.mark.parametrize(
    "arguments",
    [["create", "a", "--scope", "orders:all"], ["revoke", "nobody"], ["create", "a", "--days", "0"]],
)
def test_a_mistake_is_one_sentence(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=r"There is no|not a number"):
        make(*arguments)


def test_the_list_shows_what_is_valid_and_no_token() -> None:
    texts = [make("create", name) for name in ("a", "b")]
    make("revoke", "a")
    listed = make("list")
    assert not any(text in listed for text in texts)
    assert [each["name"] for each in json.loads(make("list", "--json"))] == ["b"]
    states = {each["name"]: each["state"] for each in json.loads(make("list", "--all", "--json"))}
    assert states == {"a": "revoked", "b": "valid"}


@pytest.mark.parametrize("arguments", [[""], ["a\nb"], ["a", "--scope", "orders:all"]])
def test_a_name_or_scope_that_cannot_be_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        make("create", *arguments)
    assert refused.value.returncode == 2


@pytest.mark.parametrize("by", ["name", "prefix"])
def test_the_command_revokes(by: str) -> None:
    token = make("create", "shop")
    api = nobody(Authorization=f"Bearer {token}")
    assert api.get("/orders").status_code == 200
    assert "Revoked shop" in make("revoke", getattr(ApiToken.objects.get(), by))
    assert_problem(api.get("/orders"), 401)


def test_ended_tokens_are_pruned_after_their_time() -> None:
    for name in ("ended long ago", "ended lately", "valid"):
        create_token(name, SCOPES)
    now = timezone.now()
    ApiToken.objects.filter(name="ended long ago").update(expires_at=now - timedelta(days=31))
    revoke_tokens(find_tokens("ended lately"))
    call_command("prune", stdout=StringIO())
    assert set(ApiToken.objects.values_list("name", flat=True)) == {"ended lately", "valid"}


# Sessions


def desk_user(*permissions: str, **fields: Any) -> Client:
    user = User.objects.create_user("ada", is_staff=True, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Client(raise_request_exception=False, enforce_csrf_checks=True)
    browser.force_login(user)
    return browser


def test_a_user_of_the_admin_may_ask_with_the_session() -> None:
    browser = desk_user(is_superuser=True)
    assert browser.get("/orders").status_code == 200


def test_a_command_with_a_session_needs_the_csrf_token() -> None:
    browser = desk_user("read_api", "write_api")
    assert assert_problem(post(browser, "/orders", ORDER), 403)["type"] == "urn:problem:csrf-failed"
    browser.get("/admin/password_change/")
    token = browser.cookies["csrftoken"].value
    assert post(browser, "/orders", ORDER, **{"X-CSRFToken": token}).status_code == 201
    assert Event.objects.get().actor_id == f"user:{User.objects.get().pk}"


def test_a_users_permissions_are_the_sessions_scopes() -> None:
    browser = desk_user("read_api")
    assert browser.get("/orders").status_code == 200
    browser.get("/admin/password_change/")
    token = browser.cookies["csrftoken"].value
    assert_problem(post(browser, "/orders", ORDER, **{"X-CSRFToken": token}), 403, "orders:write")


@pytest.mark.parametrize("change", [{"is_staff": False}, {"is_active": False}])
def test_no_other_session_counts(change: dict[str, bool]) -> None:
    browser = desk_user(is_superuser=True)
    User.objects.update(**change)
    assert_problem(browser.get("/orders"), 401)


@pytest.mark.parametrize("key", ["made-up", "made\0up"])
def test_a_made_up_session_is_401(key: str) -> None:
    browser = Client(raise_request_exception=False)
    browser.cookies["sessionid"] = key
    assert_problem(browser.get("/orders"), 401)


# A project without an API


@pytest.mark.parametrize("arguments", [(), ("--scope", "orders:read")])
def test_a_token_that_would_open_nothing(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setattr(callers, "_scopes", set())
    with pytest.raises(CommandError, match=r"No operation .* asks for a scope"):
        make("create", "shop", *arguments)
    assert ApiToken.objects.count() == 0


# The admin


def test_the_admin_shows_a_new_token_once(admin_client: Client) -> None:
    form = {"name": "shop", "scopes": ["orders:read"], "expires_at_0": "2100-01-01", "expires_at_1": "00:00"}
    page = admin_client.post("/admin/eventsource_app/apitoken/add/", form)
    [text] = set(re.findall(r"est_[a-z2-7]{10}_[\w-]{43}", page.content.decode()))
    assert "no-store" in page["Cache-Control"]
    principal = principal_of(text)
    assert principal is not None
    assert principal == Principal("token:shop", frozenset({"orders:read"}))
    row = ApiToken.objects.get()
    later = admin_client.get(f"/admin/eventsource_app/apitoken/{row.pk}/change/")
    assert row.prefix in later.content.decode()
    assert text.rpartition("_")[2] not in later.content.decode()
    assert row.created_by == "admin"


@pytest.mark.parametrize(
    "form", [{}, {"name": "a\nb", "scopes": ["orders:read"]}, {"name": "a", "scopes": ["x"]}]
)
def test_the_admin_refuses_an_impossible_token(admin_client: Client, form: dict[str, Any]) -> None:
    page = admin_client.post("/admin/eventsource_app/apitoken/add/", form)
    assert page.status_code == 200
    assert "errornote" in page.content.decode()
    assert ApiToken.objects.count() == 0


def test_the_admin_revokes_for_those_who_may() -> None:
    token, url = create_token("shop", SCOPES), "/admin/eventsource_app/apitoken/"
    form = {"action": "revoke", "_selected_action": [token.row.pk]}
    for permissions, ended in ((["view_apitoken"], False), (["view_apitoken", "revoke_apitoken"], True)):
        User.objects.all().delete()
        browser = desk_user(*permissions)
        browser = Client()
        browser.force_login(User.objects.get())
        assert browser.get(url).status_code == 200
        browser.post(url, form)
        assert (principal_of(token.text) is None) == ended
    assert ApiToken.objects.get().revoked_by == "ada"


def test_the_admin_changes_and_deletes_no_token(admin_client: Client) -> None:
    pk = create_token("shop", SCOPES).row.pk
    assert (
        admin_client.post(f"/admin/eventsource_app/apitoken/{pk}/change/", {"name": "x"}).status_code == 403
    )
    assert (
        admin_client.post(f"/admin/eventsource_app/apitoken/{pk}/delete/", {"post": "yes"}).status_code == 403
    )
    assert ApiToken.objects.get().name == "shop"
