"""Apps: names, middleware, hooks, the end."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

import elsa
from elsa.app import default_app, sole_app
from elsa.errors import AppNotFound, ConfigError, DeclarationError, NotStarted


def test_apps_are_found_by_name_and_two_of_one_name_are_refused() -> None:
    app = elsa.App("unit-app-one")
    try:
        assert elsa.get_app("unit-app-one") is app
        with pytest.raises(DeclarationError, match="'unit-app-one' exists already"):
            elsa.App("unit-app-one")
    finally:
        app.stop()
    with pytest.raises(AppNotFound, match="no App named 'unit-app-one'"):
        elsa.get_app("unit-app-one")


def test_stopping_one_app_never_touches_another() -> None:
    first, second = elsa.App("unit-app-a"), elsa.App("unit-app-b")
    first.stop()

    assert elsa.get_app("unit-app-b") is second
    second.stop()


def test_case_11_a_stopped_app_refuses_to_produce() -> None:
    app = elsa.App("unit-app-stopped")
    app.stop()
    app.stop()

    with pytest.raises(NotStarted, match="the App 'unit-app-stopped' is stopped"):
        app.send("t", b"v")
    with pytest.raises(NotStarted):
        app.start()


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="concurency"):
        elsa.App("unit-app-settings", concurency=3)


def test_settings_can_be_replaced_before_the_start() -> None:
    app = elsa.App("unit-app-configure", concurrency=3)
    app.configure(concurrency=5, brokers=None)

    assert app.settings.concurrency == 5
    app.stop()


@pytest.mark.parametrize(
    ("kafka", "text"),
    [
        ({"group.id": "x"}, r"kafka\['group.id'\] is Elsa's to set\n  hint: use `group` of the handler"),
        ({"sasl.pasword": "x"}, r"kafka\['sasl.pasword'\] is refused.*\n  hint: did you mean 'sasl.password'"),
    ],
)
def test_a_wrong_kafka_key_fails_at_the_start_with_its_name(kafka: dict[str, str], text: str) -> None:
    app = elsa.App("unit-app-kafka", kafka=kafka)

    @app.handler("orders")
    def bill(order: dict[str, int]) -> None: ...

    with pytest.raises(ConfigError, match=text):
        app.start()
    app.stop()


def test_an_unknown_codec_is_named() -> None:
    app = elsa.App("unit-app-codec")

    with pytest.raises(DeclarationError, match="there is no codec 'yaml'"):
        app.send("orders", {}, codec="yaml")
    app.stop()


def test_an_app_without_handlers_does_not_start() -> None:
    app = elsa.App("unit-app-empty")

    with pytest.raises(ConfigError, match="has no handler to run here"):
        app.start()
    app.stop()


def test_a_middleware_of_one_kind_is_refused_where_the_other_is_needed() -> None:
    app = elsa.App("unit-app-middleware")

    async def slow(call_next: Any, ctx: elsa.Context) -> Any:
        return await call_next()

    def fast(call_next: Any, ctx: elsa.Context) -> Any:
        return call_next()

    app.middleware(slow)
    with pytest.raises(DeclarationError, match="is async and handler"):
        app.handler("a")(lambda body: None)
    app.middleware(fast)
    app.handler("b")(lambda body: None)
    assert app.middleware_for(is_async=True) == [slow]
    app.stop()


def test_both_forms_can_be_given_at_once() -> None:
    app = elsa.App("unit-app-forms")

    async def slow(call_next: Any, ctx: elsa.Context) -> Any:
        return await call_next()

    def fast(call_next: Any, ctx: elsa.Context) -> Any:
        return call_next()

    app.middleware(fast, slow)

    @app.handler("a")
    def sync_one(body: dict[str, Any]) -> None: ...

    @app.handler("b")
    async def async_one(body: dict[str, Any]) -> None: ...

    app.stop()


def test_async_hooks_are_refused() -> None:
    app = elsa.App("unit-app-hooks")

    async def slow(ctx: Any) -> None: ...

    with pytest.raises(DeclarationError, match="hooks are plain functions"):
        app.on_assigned(slow)
    app.stop()


def test_a_stop_before_a_start_is_fine_and_not_ready() -> None:
    app = elsa.App("unit-app-never")

    assert not app.is_ready
    app.stop()


class TestTheShortFormOfCancel:
    """`elsa.cancel` cannot know whose message an id is."""

    @pytest.fixture(autouse=True)
    def _none_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("elsa.app._DEFAULT", [])
        monkeypatch.setattr("elsa.app._APPS", weakref.WeakValueDictionary())

    def test_it_is_the_only_app_that_is_meant(self) -> None:
        shop = elsa.App("the-only-one")

        assert sole_app() is shop
        shop.stop()
        assert sole_app() is default_app()

    def test_the_default_app_wins_when_it_is_used(self) -> None:
        shop, default = elsa.App("another"), default_app()

        assert sole_app() is default
        shop.stop()
        default.stop()

    def test_among_several_it_is_refused(self) -> None:
        apps = [elsa.App("one-of-two"), elsa.App("two-of-two")]

        with pytest.raises(DeclarationError, match=r"several Apps \(one-of-two, two-of-two\)"):
            elsa.cancel("id")
        for app in apps:
            app.stop()
