"""Finds the App that a person names on the command line; called by the commands and by worker processes."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elsa.errors import AppNotFound, ElsaError

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from elsa.app import App

_FORMS = "name it as module:app, module or path/to/file.py, with -A or in ELSA_APP"


def load_app(target: str | None = None) -> App:
    """The App named by `module:attribute`, `module` or a path `folder/file.py`, else by ELSA_APP.

    A module alone means its `app`, else the only App in it, else the default App if handlers were declared on it.
    The current folder comes first on `sys.path`. `attribute:module` is understood too. Raises AppNotFound with what
    was tried, or with the module's own traceback when it raises; an ElsaError from a declaration in it passes
    through, with the place as a note.

    ```python
    app = load_app("workers.flights:app")
    ```
    """
    target = (target or os.environ.get("ELSA_APP", "")).strip()
    if not target:
        raise AppNotFound("no app is named", hint=_FORMS)
    _put_first(Path.cwd())
    name, colon, attribute = target.rpartition(":") if ":" in target else (target, "", "")
    if colon and not (name and attribute):
        raise AppNotFound(f"{target!r} is half a name", hint=_FORMS)
    if name.endswith(".py") or os.sep in name:
        return _app_in(_import_file(Path(name)), attribute, target)
    if not all(part.isidentifier() for part in name.split(".")):
        raise AppNotFound(f"{name!r} is no module's name", hint=_FORMS)
    module = _import(name)
    if module is not None and (not attribute or _has(module, attribute)):
        return _app_in(module, attribute, target)
    if attribute and (found := _turned_round(name, attribute)) is not None:
        return _app_in(*found, target)
    if module is not None:
        return _app_in(module, attribute, target)
    raise AppNotFound(
        f"there is no module {name!r} (looked in {Path.cwd()} and on sys.path)", hint=_near_module(name) or _FORMS
    )


def _turned_round(name: str, attribute: str) -> tuple[ModuleType, str] | None:
    """`package:module` and `app:module` are as natural to write as `module:app`."""
    if (module := _import(f"{name}.{attribute}")) is not None:
        return module, ""
    if (module := _import(attribute)) is not None and _has(module, name):
        return module, name
    return None


def _import(name: str) -> ModuleType | None:
    """The module, or None when there is none of that name; what it raises itself is the user's to see."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}.") and not _is_own(error.__traceback__):
            return None
        raise _failed(name, error) from error
    except ElsaError as error:
        error.add_note(f"  raised while {name} was imported:\n{_told(error)}")
        raise
    except (Exception, SystemExit) as error:  # the user's module may raise anything; SystemExit is a script's end
        raise _failed(name, error) from error


def _is_own(trace: TracebackType | None) -> bool:
    """Whether the error came out of somebody's code, and not from the search for the module itself."""
    frames = traceback.extract_tb(trace)
    return any("importlib" not in frame.filename for frame in frames[1:])


def _failed(name: str, error: BaseException) -> AppNotFound:
    what = "ended the program" if isinstance(error, SystemExit) else "raised an error"
    return AppNotFound(f"the module {name!r} {what} while it was imported:\n{_told(error)}")


def _told(error: BaseException) -> str:
    """The traceback from the user's first line on: the import system and Elsa's own frames say nothing to them."""
    here = str(Path(__file__).parent) + os.sep
    shown = traceback.TracebackException.from_exception(error, compact=True)
    for part in _chain(shown):
        kept = [f for f in part.stack if "importlib" not in f.filename and not f.filename.startswith(here)]
        part.stack = traceback.StackSummary.from_list(kept)
    return "".join(shown.format()).rstrip()


def _chain(shown: traceback.TracebackException | None) -> list[traceback.TracebackException]:
    return [shown, *_chain(shown.__cause__), *_chain(shown.__context__)] if shown is not None else []


def _import_file(path: Path) -> ModuleType:
    path = path if path.suffix == ".py" else path.with_name(path.name + ".py")
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], 1)
        raise AppNotFound(f"there is no file {path}", hint=f"did you mean {path.parent / near[0]}?" if near else _FORMS)
    path = path.resolve()
    parts = [path.stem] if path.stem != "__init__" else []
    folder = path.parent
    # a module is named as `import` names it: from the folder above its outermost package
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _put_first(folder)
    name = ".".join(parts)
    module = _import(name)
    if module is None or not getattr(module, "__file__", None) or Path(module.__file__ or "").resolve() != path:
        taken = getattr(module, "__file__", None) or "Python itself"
        raise AppNotFound(f"{path} can not be imported as {name!r}: that name belongs to {taken}", hint="rename it")
    return module


def _put_first(folder: Path) -> None:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def _has(module: ModuleType, attribute: str) -> bool:
    return _attribute(module, attribute) is not None


def _attribute(module: ModuleType, dotted: str) -> Any:
    found: Any = module
    for name in dotted.split("."):
        found = getattr(found, name, None)
    return found


def _app_in(module: ModuleType, attribute: str, target: str) -> App:
    from elsa.app import _DEFAULT, App  # noqa: PLC0415 - a worker's supervisor names apps without importing the engine

    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if attribute:
        found = _attribute(module, attribute)
        if isinstance(found, App):
            return found
        what = f"has no attribute {attribute!r}" if found is None else f"has {attribute!r}, which is no elsa.App"
        raise AppNotFound(f"{target!r}: module {module.__name__!r} {what}", hint=_near_app(module, attribute, apps))
    if "app" in apps:
        return apps["app"]
    distinct = {id(app): app for app in apps.values()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if distinct:
        raise AppNotFound(
            f"{target!r}: module {module.__name__!r} holds {len(distinct)} Apps: {', '.join(sorted(apps))}",
            hint=f"say which: {module.__name__}:{min(apps)}",
        )
    if _DEFAULT and len(_DEFAULT[0].registry):
        return _DEFAULT[0]
    raise AppNotFound(
        f"{target!r}: module {module.__name__!r} holds no elsa.App, and no handler is declared on the default one",
        hint="make one: app = elsa.App(), or declare handlers with @elsa.handler",
    )


def _near_app(module: ModuleType, attribute: str, apps: dict[str, App]) -> str:
    if apps:
        return f"the Apps in it: {', '.join(f'{module.__name__}:{name}' for name in sorted(apps))}"
    others = [name for name in vars(module) if not name.startswith("_") and name != attribute]
    near = difflib.get_close_matches(attribute, others, 1)
    return f"did you mean {module.__name__}:{near[0]}?" if near else "make one: app = elsa.App()"


def _near_module(name: str) -> str | None:
    """The modules of the current folder whose name is near, else all that there are."""
    folder = Path.cwd()
    there = [path.stem for path in folder.glob("*.py")] + [path.parent.name for path in folder.glob("*/__init__.py")]
    dotted = [f"{path.parent.name}.{path.stem}" for path in folder.glob("*/*.py") if path.stem != "__init__"]
    near = difflib.get_close_matches(name, [*there, *dotted], 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"modules in this folder: {', '.join(sorted(there)[:10])}" if there else None
