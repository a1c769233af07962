"""The addresses that people write, and those that are none."""

import pytest

from npu_agent.observe.errors import HttpAddressWrong
from npu_agent.observe.http.address import Address, parse


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9400", "127.0.0.1", 9400),
        ("0.0.0.0:9400", "0.0.0.0", 9400),
        ("[::]:9400", "::", 9400),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80),
        ("localhost:0", "localhost", 0),
        ("node-7.example.com:9400", "node-7.example.com", 9400),
        (":9400", "", 9400),
    ],
)
def test_an_address_is_read_as_it_is_meant_and_shown_as_it_is_written(text: str, host: str, port: int) -> None:
    assert parse(text) == Address(host, port)
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "9400",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:http",
        "127.0.0.1:٣",
        "300.1.1.1:80",
        "1.2.3:80",
        "::1:9400",
        "[::1]",
        "[::1]9400",
        "[1]:9400",
        "[:::]:9400",
        "[127.0.0.1]:9400",
        "http://127.0.0.1:9400",
        "a b:80",
        "user@host:80",
        "unix:/run/http.sock",
        " :80",
        "::",
        ":",
    ],
)
def test_what_is_no_address_is_one_error_that_says_how_one_is_written(text: str) -> None:
    with pytest.raises(
        HttpAddressWrong, match=r"^HTTP cannot be served on .*: an address is HOST:PORT, such as 127\.0\.0\.1:9400"
    ) as error:
        parse(text)
    assert error.value.exit_status == 2
