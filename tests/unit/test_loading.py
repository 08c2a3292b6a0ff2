"""Which App a name on the command line means, and what is said when it means none."""

from __future__ import annotations

import itertools
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.errors import AppNotFound, DeclarationError
from elsa.loading import load_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Write = Callable[..., str]

_NUMBERS = itertools.count(1)


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ELSA_APP", raising=False)
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(text, name="m{n}")` makes a module in the current folder and returns its name."""

    def make(text: str, name: str = "m{n}") -> str:
        name = name.format(n=next(_NUMBERS))
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return name

    return make


def app_text(name: str, attribute: str = "app") -> str:
    return f"import elsa\n{attribute} = elsa.App({name!r})\n"


def refused(target: str | None) -> str:
    with pytest.raises(AppNotFound) as caught:
        load_app(target)
    return str(caught.value)


@pytest.mark.parametrize("form", ["{m}", "{m}:app", "app:{m}", "{m}.py", "./{m}.py", "{m}.py:app"])
def test_an_app_is_found_by_every_form_of_its_name(form: str, write: Write) -> None:
    module = write(app_text("forms"))

    assert load_app(form.format(m=module)).name == "forms"


@pytest.mark.parametrize("form", ["{p}.{m}", "{p}.{m}:app", "{p}:{m}", "{p}/{m}.py"])
def test_an_app_in_a_package_is_found(form: str, write: Write) -> None:
    package = write("", "p{n}.__init__").removesuffix(".__init__")
    module = write(app_text("packed"), f"{package}.inner").removeprefix(f"{package}.")

    app = load_app(form.format(p=package, m=module))

    assert app.name == "packed"
    assert f"{package}.inner" in sys.modules


def test_a_file_in_another_folder_is_imported_by_its_stem(write: Write) -> None:
    folder = write(app_text("other"), "folder{n}.mine").partition(".")[0]

    assert load_app(f"{folder}/mine.py").name == "other"
    assert "mine" in sys.modules


def test_a_dotted_attribute_is_followed(write: Write) -> None:
    module = write("import elsa\nclass Holder:\n    app = elsa.App('held')\n")

    assert load_app(f"{module}:Holder.app").name == "held"


def test_a_module_alone_means_its_app_before_any_other(write: Write) -> None:
    module = write(app_text("first", "other") + app_text("second"))

    assert load_app(module).name == "second"


def test_a_module_alone_means_its_only_app(write: Write) -> None:
    module = write(app_text("only", "shop") + "again = shop\napp = 'of another framework'\n")

    assert load_app(module).name == "only"


def test_several_apps_are_told_apart_by_the_attribute_only(write: Write) -> None:
    module = write(app_text("one", "a") + app_text("two", "b"))

    assert f"holds 2 Apps: a, b\n  hint: say which: {module}:a" in refused(module)


def test_the_environment_names_the_app_when_no_argument_does(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSA_APP", write(app_text("by-environment")))

    assert load_app(None).name == "by-environment"


def test_without_any_name_the_forms_are_told() -> None:
    assert "no app is named\n  hint: name it as module:app" in refused(None)


@pytest.mark.parametrize("target", [":app", "module:", ":"])
def test_half_a_name_is_refused(target: str) -> None:
    assert f"{target!r} is half a name" in refused(target)


def test_a_name_that_can_be_no_module_is_refused() -> None:
    assert "'my-app' is no module's name" in refused("my-app")


def test_a_missing_module_is_named_with_a_near_one(write: Write, tmp_path: Path) -> None:
    module = write(app_text("near"), "flights{n}")

    text = refused(module.replace("flights", "fligths"))

    assert f"there is no module '{module.replace('flights', 'fligths')}' (looked in {tmp_path}" in text
    assert f"did you mean {module}?" in text


def test_a_missing_file_is_named_with_a_near_one(write: Write) -> None:
    module = write(app_text("near-file"), "flights{n}")

    assert f"did you mean {module}.py?" in refused(f"{module.replace('flights', 'fligths')}.py")


def test_a_missing_attribute_names_the_apps_there_are(write: Write) -> None:
    module = write(app_text("there", "shop"))

    text = refused(f"{module}:aps")

    assert f"module '{module}' has no attribute 'aps'" in text
    assert f"the Apps in it: {module}:shop" in text


def test_an_attribute_that_is_no_app_is_said_to_be_none(write: Write) -> None:
    module = write("app = 3\n")

    assert f"has 'app', which is no elsa.App\n  hint: did you mean {module}:app?" not in refused(f"{module}:app")
    assert "has 'app', which is no elsa.App" in refused(f"{module}:app")


def test_a_module_without_any_app_says_what_to_make(write: Write) -> None:
    assert "hint: make one: app = elsa.App()" in refused(write("x = 1\n"))


def test_the_error_of_a_module_is_shown_with_its_own_lines(write: Write) -> None:
    module = write("def deep():\n    return 1 / 0\n\ndeep()\n")

    text = refused(f"{module}:app")

    assert f"the module '{module}' raised an error while it was imported:\nTraceback" in text
    assert "in deep" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "importlib" not in text
    assert "loading.py" not in text


def test_a_missing_dependency_of_the_module_is_not_taken_for_the_module_itself(write: Write) -> None:
    module = write("import nowhere_to_be_found\n")

    text = refused(module)

    assert "No module named 'nowhere_to_be_found'" in text
    assert f"the module '{module}' raised an error" in text


def test_a_module_that_imports_a_missing_sibling_of_its_own_name_is_shown(write: Write) -> None:
    package = write("import {0}.missing\n", "p{n}.__init__").removesuffix(".__init__")
    write(f"import {package}.missing\n", f"{package}.__init__")

    assert f"No module named '{package}.missing'" in refused(f"{package}:missing")


def test_a_syntax_error_is_shown_with_its_line(write: Write) -> None:
    module = write("x = = 1\n")

    text = refused(module)

    assert "SyntaxError" in text
    assert f"{module}.py" in text


def test_a_module_that_exits_is_said_to_have_ended_the_program(write: Write) -> None:
    assert "ended the program while it was imported" in refused(write("raise SystemExit(3)\n"))


def test_a_wrong_declaration_keeps_its_class_and_gains_the_place(write: Write) -> None:
    module = write("import elsa\napp = elsa.App('x', nonsense=1)\n")

    with pytest.raises(ValueError, match="unknown setting 'nonsense'") as caught:
        load_app(module)

    assert exits.code_of(caught.value) == exits.USAGE
    assert f"raised while {module} was imported" in caught.value.__notes__[0]
    assert f'{module}.py", line 2' in caught.value.__notes__[0]


def test_two_apps_of_one_name_are_a_wrong_declaration(write: Write) -> None:
    module = write(app_text("twice") + app_text("twice", "again"))

    with pytest.raises(DeclarationError, match="'twice' exists already"):
        load_app(module)


def test_a_file_whose_name_python_has_taken_is_refused(write: Write) -> None:
    write(app_text("taken"), "json")

    assert "can not be imported as 'json'" in refused("json.py")


def test_the_default_app_is_meant_when_handlers_are_declared_on_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsa.app._DEFAULT", [])
    module = write("import elsa\n@elsa.handler('orders')\ndef bill(order: dict) -> None: ...\n")

    app = load_app(module)

    assert [handler.name for handler in app.registry] == [f"{module}.bill"]
