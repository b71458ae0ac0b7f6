"""`tls.expiry`: names resolve, servers prove who they are, and will do so for a while."""

import socket
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from deployguard.errors import Refused
from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Check, Context, Outcome
from deployguard.steps.conditions.base import is_address

Problem = tuple[str, str]
_ADDRESSES = 8
_HTTPS, _HTTP = 443, 80
_DAY = 86400


def _place(url: str) -> str:
    if not is_address(url if "://" in url else f"tls://{url}", {"https", "tls"}):
        raise ValueError("write https://host/ or host:port")
    return url


class TlsExpiry(Check):
    """Check the certificates of the pages that will be watched, on every address their names have.

    The chain and the name in the certificate are verified; addresses that do not answer fail too. Of a page
    that is watched without TLS only the name is looked up.
    """

    uses: ClassVar[str] = "tls.expiry"
    example: ClassVar[str] = "- uses: tls.expiry\n  with: { at_least: 14d }"

    urls: tuple[Annotated[str, AfterValidator(_place)], ...] | None = Field(None, min_length=1)
    """https://host/ or host:port; by default the pages that the runbook's own steps ask: monitor, http, gates."""
    at_least: Duration = 14 * 86400.0
    """How long each certificate must still be good."""
    ca: str = ""
    """File of the authorities to trust, PEM, from the runbook's folder; by default the system's."""
    timeout: Duration = Field(10.0, gt=0)
    """For each connection."""

    def execute(self, context: Context) -> Outcome:
        """Connect to each once, and say nothing over it."""
        trust = self._trust(context.target.project)
        now = context.target.clock.now().timestamp()
        days: dict[str, float] = {}
        problems: list[Problem] = []
        plain: list[str] = []
        for host, port, secured in dict.fromkeys(map(_host, self._pages(context))):
            addresses = _addresses(host, port, problems)
            plain += [f"{host}:{port}"] if addresses and not secured else []
            for address in addresses if secured else ():
                problem = self._look(trust, host, address, now, days)
                problems += [problem] if problem else []
        evidence = {"days": days, "plain": plain}
        if problems:
            fixes = " ".join(dict.fromkeys(fix for _, fix in problems))
            return Outcome("; ".join(what for what, _ in problems), "fail", fixes, evidence)
        good = ", ".join(f"{name} for {left:.0f} days" for name, left in days.items())
        said = [
            *([f"certificates are good: {good}"] if days else []),
            *([f"without TLS, the name has an address: {', '.join(plain)}"] if plain else []),
        ]
        return Outcome("; ".join(said), evidence=evidence)

    def _pages(self, context: Context) -> tuple[str, ...]:
        if self.urls is not None:
            return self.urls
        if found := tuple(page for page in context.target.pages if page.startswith(("http://", "https://"))):
            return found
        raise Refused(
            "the runbook's steps ask no page, so there is no certificate to look at",
            hint="Name pages under urls:, or watch one, or take the check away.",
        )

    def _trust(self, project: Path) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=str(project / self.ca) if self.ca else None)
        except OSError as error:  # of which SSLError is one
            raise Refused(
                f"the file of authorities {self.ca} cannot be used: {error.strerror or error.args[-1]}",
                hint="ca: names a PEM file of certificates.",
            ) from None

    def _look(
        self, trust: ssl.SSLContext, host: str, address: tuple[str, int], now: float, days: dict[str, float]
    ) -> Problem | None:
        name = f"{host}:{address[1]}" + ("" if address[0] == host else f" ({address[0]})")
        try:
            with (
                socket.create_connection(address, self.timeout) as connection,
                trust.wrap_socket(connection, server_hostname=host) as secured,
            ):
                until = ssl.cert_time_to_seconds(str((secured.getpeercert() or {})["notAfter"]))
        except ssl.SSLCertVerificationError as error:
            return f"{name}: {error.verify_message}", "Renew the certificate, or correct its name or chain."
        except ssl.SSLError as error:
            return f"{name} does not speak TLS as it should ({error.reason})", "Check the port and the server's TLS."
        except OSError as error:
            why = "timed out" if isinstance(error, TimeoutError) else error.strerror
            return f"{name} does not answer: {why}", "Start the server, open the firewall, or correct its DNS record."
        days[name] = round((until - now) / _DAY, 1)
        if until - now < self.at_least:
            left = timedelta(seconds=round(until - now))
            return f"{name}: the certificate is good for {left} only", "Renew it before the change."
        return None


def _host(url: str) -> tuple[str, int, bool]:
    """Name, port, and whether it is to speak TLS."""
    parts = urlsplit(url if "://" in url else f"tls://{url}")
    secured = parts.scheme != "http"
    return parts.hostname or "", parts.port or (_HTTPS if secured else _HTTP), secured


def _addresses(host: str, port: int, problems: list[Problem]) -> list[tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        problems.append((f"the name {host} has no address", "Correct its DNS record or this machine's resolver."))
        return []
    return list(dict.fromkeys((str(each[4][0]), port) for each in found))[:_ADDRESSES]
