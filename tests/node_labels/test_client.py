"""One request to the API server, and what is said where it cannot be."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from npu_agent.cluster import client
from npu_agent.cluster.access import Access, in_cluster
from npu_agent.cluster.client import ApiServer, ssl_context
from npu_agent.cluster.errors import AccessMissing, ApiRefused, ApiUnreachable
from tests.node_labels.api_double import ApiDouble, Fault, api_double

NODE = "/api/v1/nodes/n1"


@pytest.fixture
async def api() -> AsyncIterator[ApiDouble]:
    async with api_double() as double:
        double.add_node("n1")
        yield double


async def test_the_answer_is_the_object(api: ApiDouble) -> None:
    node = await ApiServer(api.access).request("GET", NODE, accept=client.METADATA)
    assert node["metadata"]["name"] == "n1"
    [asked] = api.asked
    assert asked.headers["accept"].startswith("application/json;as=PartialObjectMetadata")
    assert asked.headers["user-agent"].startswith("npu-agent/")


async def test_the_token_of_each_request_is_the_one_that_is_there_then(api: ApiDouble) -> None:
    token = "old"
    server = ApiServer(lambda: replace(api.access(), token=token))
    api.token = "old"
    await server.request("GET", NODE)
    api.token = "new"
    with pytest.raises(ApiRefused, match="token is not"):
        await server.request("GET", NODE)
    token = "new"
    await server.request("GET", NODE)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(cut=0), "closed the connection before it had answered"),
        (Fault(cut=20), "closed the connection before it had answered"),
        (Fault(cut=120), "closed the connection before it had answered"),
        (Fault(content=b"<html>hello</html>"), "is not an object of Kubernetes"),
        (Fault(content=b'["a"]'), "is not an object of Kubernetes"),
        (Fault(content=b"x" * 3_000_000), "more than 2 MiB"),
        (Fault(headers=(("X-Long", "x" * 200_000),)), "cannot be reached"),
        (Fault(wait_s=30), "did not answer within 0.3 s"),
    ],
)
async def test_what_is_no_answer_is_said(api: ApiDouble, fault: Fault, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.3 if fault.wait_s else 10.0)
    monkeypatch.setattr(client, "MOST_BYTES", 2 * 1024 * 1024)
    api.always = fault
    with pytest.raises(ApiUnreachable, match=said):
        await ApiServer(api.access).request("GET", NODE)


async def test_a_refusal_has_the_server_s_words_made_printable_and_short(api: ApiDouble) -> None:
    api.always = Fault(status=429, content=b'{"message": "\\u001b[31m' + b"x" * 1000 + b'"}', headers=(("Retry-After", "7"),))
    with pytest.raises(ApiRefused) as refused:
        await ApiServer(api.access).request("GET", NODE)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 7.0)
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()


async def test_nobody_listening_is_said() -> None:
    with pytest.raises(ApiUnreachable, match=r"http://127.0.0.1:1 cannot be reached"):
        await ApiServer(lambda: Access("http://127.0.0.1:1")).request("GET", NODE)


class Authority:
    """A certificate authority, with a certificate of a server on the loopback address and one of a client."""

    def __init__(self, folder: Path, name: str, *, extensions: str = "basicConstraints=critical,CA:TRUE") -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self._run("req", "-x509", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", f"/CN={name}", "-addext", extensions, *_NEW_KEY)
        for who, alternative in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "subjectAltName=DNS:client")):
            self._run("req", "-nodes", "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}", *_NEW_KEY)
            (self.folder / "extensions").write_text(alternative)
            self._run(
                *("x509", "-req", "-in", f"{who}.csr", "-out", f"{who}.crt", "-CA", "ca.crt", "-CAkey", "ca.key"),
                *("-CAcreateserial", "-extfile", "extensions", "-days", "3650"),
            )

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def server_context(self, *, asks: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.crt", self.folder / "server.key")
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.folder / "ca.crt")
        return context

    def _run(self, *arguments: str) -> None:
        subprocess.run(("openssl", *arguments), cwd=self.folder, check=True, capture_output=True)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    folder = tmp_path_factory.mktemp("pki")
    return {name: Authority(folder, name) for name in ("first", "second")}


@asynccontextmanager
async def over_tls(authority: Authority, *, asks: bool = False) -> AsyncIterator[ApiDouble]:
    async with api_double(authority.server_context(asks=asks)) as double:
        double.add_node("n1")
        yield double


async def test_a_server_that_the_authority_of_the_cluster_vouches_for_is_believed(authorities: dict[str, Authority]) -> None:
    async with over_tls(authorities["first"]) as api:
        access = replace(api.access(), authorities=authorities["first"].text("ca.crt"))
        assert (await ApiServer(lambda: access).request("GET", NODE))["kind"] == "Node"


async def test_another_server_is_not_and_no_token_reaches_it(authorities: dict[str, Authority]) -> None:
    async with over_tls(authorities["second"]) as api:
        for authority in ("first", ""):
            access = replace(api.access(), token="secret", authorities=authority and authorities[authority].text("ca.crt"))
            with pytest.raises(ApiUnreachable, match="is not trusted"):
                await ApiServer(lambda access=access: access).request("GET", NODE)  # type: ignore[misc]
        assert not api.asked


async def test_the_authorities_are_those_of_the_moment(authorities: dict[str, Authority]) -> None:
    known = authorities["first"]
    server: ApiServer
    async with over_tls(authorities["second"]) as api:
        server = ApiServer(lambda: replace(api.access(), authorities=known.text("ca.crt")))
        with pytest.raises(ApiUnreachable):
            await server.request("GET", NODE)
        known = authorities["second"]
        await server.request("GET", NODE)


async def test_a_client_certificate_is_shown_to_a_server_that_asks(authorities: dict[str, Authority]) -> None:
    first = authorities["first"]
    async with over_tls(first, asks=True) as api:
        plain = replace(api.access(), authorities=first.text("ca.crt"))
        with pytest.raises(ApiUnreachable):
            await ApiServer(lambda: plain).request("GET", NODE)
        named = replace(plain, certificate=first.text("client.crt"), key=first.text("client.key"))
        await ApiServer(lambda: named).request("GET", NODE)


def test_only_the_authorities_of_a_cluster_may_lack_what_new_pythons_want(authorities: dict[str, Authority]) -> None:
    of_cluster = ssl_context(Access("https://a", authorities=authorities["first"].text("ca.crt")))
    assert not of_cluster.verify_flags & ssl.VERIFY_X509_STRICT
    fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).verify_flags
    assert ssl_context(Access("https://a")).verify_flags == fresh
    assert of_cluster.verify_mode == ssl.CERT_REQUIRED
    assert of_cluster.check_hostname


def test_certificates_that_are_none_are_said() -> None:
    with pytest.raises(AccessMissing, match="certificates for https://a cannot be used"):
        ssl_context(Access("https://a", authorities="-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n"))


async def test_a_pod_reaches_the_api_server_by_its_service_account(authorities: dict[str, Authority], tmp_path: Path) -> None:
    async with over_tls(authorities["first"]) as api:
        api.token = "bound"
        (tmp_path / "token").write_text("bound\n")
        (tmp_path / "ca.crt").write_text(authorities["first"].text("ca.crt"))
        (tmp_path / "namespace").write_text("npu-system")
        port = api.url.rpartition(":")[2]
        environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port}
        server = ApiServer(lambda: in_cluster(tmp_path, environment))
        await server.request("GET", NODE)
        assert server.find().namespace == "npu-system"
        await asyncio.to_thread((tmp_path / "token").write_text, "rotated")
        api.token = "rotated"
        await server.request("GET", NODE)
