"""Makes a certificate authority and what it vouches for, with the keytool inside the Java that runs the broker.

Called by the guard when a secure cluster is started for the first time, and by tests that need a bad certificate.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elsa.errors import BrokerStartError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# The tool's own program is a script that not every runtime has; its main class is in java.base, which all have.
_KEYTOOL = (
    *("-XX:TieredStopAtLevel=1", "-Xmx64m"),
    # a certificate is public: left in clear, errors can say that it has expired
    "-Dkeystore.pkcs12.certProtectionAlgorithm=NONE",
    *("-m", "java.base/sun.security.tools.keytool.Main"),
)
_KEY = ("-keyalg", "EC", "-groupname", "secp256r1")
_DAYS = 3650
_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority of one folder: `ca.pem` for whoever is to trust it, `ca.p12` with its key.

    `password_file` holds the password of every key store here; nothing secret stands in a command line.
    """

    java: Path
    folder: Path
    password_file: Path

    @property
    def certificate(self) -> Path:
        """What clients trust (PEM)."""
        return self.folder / "ca.pem"

    @property
    def _store(self) -> Path:
        return self.folder / "ca.p12"

    def store(self, name: str) -> Path:
        """Where `issue` puts it."""
        return self.folder / f"{name}.p12"

    def make(self, name: str = "Elsa embedded Kafka") -> None:
        """Make key and certificate of the authority; raises BrokerStartError."""
        extensions = ("-ext", "bc:c=ca:true", "-ext", "ku:c=keyCertSign,cRLSign")
        self._run(self._store, "-genkeypair", "ca", f"CN={name}", *_KEY, *extensions, *_lasting(_DAYS))
        self._run(self._store, "-exportcert", "ca", None, "-rfc", "-file", str(self.certificate))

    def issue(self, name: str, hosts: Sequence[str] = (), *, days: int = _DAYS, start: str | None = None) -> Path:
        """A key store (PKCS12) with key and certificate for a server of these `hosts`; without any, for a client.

        `start` is when it begins to hold, as keytool writes it (`-10d`), by default now.
        """
        store = self.store(name)
        fresh = store.with_name(f"{store.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)  # it holds the authority's key for a moment
        shutil.copyfile(self._store, fresh)
        names = ",".join(f"{'ip' if host.replace('.', '').isdecimal() else 'dns'}:{host}" for host in hosts)
        # brokers are clients of one another
        usage = ("-ext", f"san={names}", "-ext", "eku=serverAuth,clientAuth") if hosts else ("-ext", "eku=clientAuth")
        self._run(fresh, "-genkeypair", name, f"CN={name}", *_KEY, "-signer", "ca", *usage, *_lasting(days, start))
        self._run(fresh, "-delete", "ca", None)
        return fresh.replace(store)

    def _run(self, store: Path, verb: str, alias: str, subject: str | None, *options: str) -> None:
        command = [str(self.java), *_KEYTOOL, verb, "-alias", alias, *options]
        if subject is not None:
            command += ["-dname", subject]
        command += ["-keystore", str(store), "-storetype", "PKCS12", "-storepass:file", str(self.password_file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - the broker's own java
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerStartError(f"no certificate could be made: {error}") from error
        if done.returncode != 0:
            raise BrokerStartError(f"no certificate could be made: {(done.stdout + done.stderr).strip()}")


def _lasting(days: int, start: str | None = None) -> tuple[str, ...]:
    return ("-validity", str(days), *(("-startdate", start) if start else ()))
