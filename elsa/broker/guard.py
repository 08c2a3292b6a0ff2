"""What makes the embedded cluster a secure one: certificates, users with passwords and rights, files for clients.

Owned by the cluster. Everything lies in the folder `security` beside the nodes, made at the first secure start, kept
by later ones, and readable by its owner alone.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa import acls
from elsa.broker.certificates import Authority
from elsa.broker.ports import LOOPBACK
from elsa.config import Settings
from elsa.errors import ConfigError, DataDirectoryError
from elsa.kafka.users import Users

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FOLDER = "security"
#: the brokers' own user, which may do everything; it makes the others
BROKER = "broker"
ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"
_SERVER = "server"
_HOSTS = (LOOPBACK, "localhost")
_STATE = "users.json"
_PRIVATE = 0o600
_LOGIN = "org.apache.kafka.common.security"


@dataclass(frozen=True, slots=True)
class _Known:
    """What `users.json` holds; `is_registered` is false until the cluster has been told of users and rights."""

    passwords: Mapping[str, str]
    is_registered: bool


class Guard:
    """The security folder of one cluster; used by whoever uses the cluster."""

    def __init__(self, root: Path, java: Path) -> None:
        self.folder = root / FOLDER
        self._authority = Authority(java, self.folder, self.folder / "stores.password")

    # -- files -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make what is missing; nothing is left half made. Raises BrokerStartError, DataDirectoryError."""
        if (self.folder / _STATE).exists():
            self._issue(self._authority, self._known().passwords)
            return
        fresh = self.folder.with_name(f"{FOLDER}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        authority = Authority(self._authority.java, fresh, fresh / "stores.password")
        _write(authority.password_file, secrets.token_urlsafe(24))
        authority.make()
        authority.issue(_SERVER, _HOSTS)
        users = (BROKER, ADMIN, *acls.DEVELOPERS)
        self._issue(authority, users)
        _write_known(fresh, _Known({user: secrets.token_urlsafe(24) for user in users}, is_registered=False))
        for path in fresh.iterdir():
            path.chmod(_PRIVATE)
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.replace(self.folder)

    @staticmethod
    def _issue(authority: Authority, users: Iterable[str]) -> None:
        """The certificates that users have not yet; each takes a second of a Java that has to start twice."""
        missing = [user for user in users if not (authority.folder / f"{user}.p12").exists()]
        with ThreadPoolExecutor() as pool:
            list(pool.map(authority.issue, missing))

    def write_clients(self, bootstrap: str) -> None:
        """Write each user's password, and the environment that makes every command of Elsa that user's."""
        for user in self.users:
            _write(self._password_file(user), self._known().passwords[user])
            lines = [
                f"# the user {user} of the embedded Kafka",
                *_assignments(self.environment(user, bootstrap)),
                "# with a client certificate as well: take the signs away",
                *(f"# {line}" for line in _assignments(self.certificate_environment(user))),
            ]
            _write(self.env_file(user), "\n".join(lines) + "\n")

    @property
    def users(self) -> tuple[str, ...]:
        """The users that clients may be."""
        return tuple(user for user in self._known().passwords if user != BROKER)

    @property
    def certificate(self) -> Path:
        """The certificate of the authority that clients have to trust (PEM)."""
        return self._authority.certificate

    def env_file(self, user: str) -> Path:
        """A file of ELSA_* variables, for shells, systemd and containers."""
        self._require(user)
        return self.folder / f"{user}.env"

    def environment(self, user: str, bootstrap: str) -> dict[str, str]:
        """The variables in the user's file; the password is named by its file, and stands in none of them."""
        plain = {key: value for key, value in self.kafka(user).items() if key != "sasl.password"}
        variables = {"ELSA_BROKERS": bootstrap}
        variables |= {f"ELSA_KAFKA__{key.replace('.', '__').upper()}": str(value) for key, value in plain.items()}
        return variables | {"ELSA_KAFKA__SASL__PASSWORD_FILE": str(self._password_file(user))}

    def certificate_environment(self, user: str) -> dict[str, str]:
        """The variables that have the user's clients show a certificate of their own."""
        self._require(user)
        return {
            "ELSA_KAFKA__SSL__KEYSTORE__LOCATION": str(self._authority.store(user)),
            "ELSA_KAFKA__SSL__KEYSTORE__PASSWORD_FILE": str(self._authority.password_file),
        }

    def kafka(self, user: str, mechanism: str = MECHANISM, *, certificate: bool = False) -> dict[str, Any]:
        """The `kafka` setting of a client of this user, who may show a `certificate` as well.

        The brokers' own logs in by PLAIN.
        """
        self._require(user)
        shown: dict[str, Any] = {}
        if certificate:
            shown["ssl.keystore.location"] = str(self._authority.store(user))
            shown["ssl.keystore.password"] = self._authority.password_file.read_text()
        return shown | {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN" if user == BROKER else mechanism,
            "sasl.username": user,
            "sasl.password": self._known().passwords[user],
            "ssl.ca.location": str(self.certificate),
        }

    # -- brokers ---------------------------------------------------------------------------------------

    def properties(self, listener: str) -> dict[str, str]:
        """What a node's server.properties say beside the addresses of `listener` (for clients) and CONTROLLER.

        Brokers and controllers know each other by a password in that file (PLAIN within TLS): SCRAM's passwords are
        kept by the cluster itself, which they would have to reach first.
        """
        password = self._known().passwords[BROKER]
        stores = self._authority.password_file.read_text()
        plain = f'{_LOGIN}.plain.PlainLoginModule required username="{BROKER}" password="{password}" '
        plain += f'user_{BROKER}="{password}";'
        clients = listener.lower()
        return {
            "listener.security.protocol.map": f"{listener}:SASL_SSL,CONTROLLER:SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            f"listener.name.{clients}.plain.sasl.jaas.config": plain,
            f"listener.name.{clients}.scram-sha-256.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            f"listener.name.{clients}.scram-sha-512.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": plain,
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self.folder / f"{_SERVER}.p12"),
            "ssl.keystore.password": stores,
            "ssl.key.password": stores,
            # who shows a certificate has to show a good one; a listener of SASL takes no setting for all listeners
            f"listener.name.{clients}.ssl.client.auth": "requested",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificate),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{BROKER};User:{ADMIN}",
        }

    def register(self, bootstrap: str) -> None:
        """Tell a cluster that answers about its users and their rights, once; later starts find both in its data."""
        known = self._known()
        if known.is_registered:
            return
        cluster = self._cluster(bootstrap)
        cluster.set_passwords({user: word for user, word in known.passwords.items() if user != BROKER})
        for user, rights in acls.DEVELOPERS.items():
            cluster.grant(user, rights)
        _write_known(self.folder, _Known(known.passwords, is_registered=True))

    def forget(self) -> None:
        """The cluster was made anew, and knows nobody yet."""
        _write_known(self.folder, _Known(self._known().passwords, is_registered=False))

    def set_password(self, user: str, password: str, bootstrap: str) -> None:
        """Give a user another password, in the cluster first and then in the files; raises what the broker says."""
        self._require(user)
        self._cluster(bootstrap).set_passwords({user: password})
        known = self._known()
        _write_known(self.folder, _Known({**known.passwords, user: password}, is_registered=known.is_registered))
        _write(self._password_file(user), password)

    def _cluster(self, bootstrap: str) -> Users:
        return Users(Settings(name="elsa-broker", brokers=bootstrap, kafka=self.kafka(BROKER, certificate=True)))

    def _password_file(self, user: str) -> Path:
        return self.folder / f"{user}.password"

    def _require(self, user: str) -> None:
        known = self._known().passwords
        if user not in known:
            raise ConfigError(f"the embedded broker has no user {user!r}", hint=f"there are {', '.join(known)}")

    def _known(self) -> _Known:
        path = self.folder / _STATE
        try:
            return _Known(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise DataDirectoryError(
                f"{path} is damaged ({type(error).__name__})",
                hint=f"remove the folder {self.folder} and start again: users and certificates are made anew",
            ) from error


def _assignments(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={shlex.quote(value)}" for name, value in environment.items()]


def _write_known(folder: Path, known: _Known) -> None:
    _write(folder / _STATE, json.dumps({"passwords": dict(known.passwords), "is_registered": known.is_registered}))


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
