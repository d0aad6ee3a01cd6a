"""docs/configuration.md matches the .proto files, and every field of the configuration has its row."""

import pathlib
import subprocess
import unittest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()


class ConfigReference(unittest.TestCase):
    def test_page_is_up_to_date(self) -> None:
        done = subprocess.run(
            [ROOT / "scripts" / "config_reference", "--check"], capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_rows_have_type_default_bounds_and_meaning(self) -> None:
        for row in (
            "| `tick_interval` | duration | `500ms` | 50ms to 10s | Interval between computations of the weights. |",
            "| `mode` | [ForwardingMode](#forwardingmode) | `tunnel` | - | How bytes travel from the proxies to the endpoints. |",
            "| `log` | [LogConfig](#logconfig) | - | - | The agent's log. |",
            "| `redis` | [RedisCodec](#rediscodec); one of `codec` | - | - | RESP, the protocol of Redis. |",
            "| `message` | Requests of many clients share a few long-lived connections to an unmodified server.",
        ):
            self.assertIn(row, PAGE)

    def test_links_have_their_sections(self) -> None:
        titles = {line.lstrip("# ").lower().replace(".", "") for line in PAGE.splitlines() if line.startswith("#")}
        for link in {part.split(")")[0] for part in PAGE.split("](#")[1:]}:
            self.assertIn(link, titles)


if __name__ == "__main__":
    unittest.main()
