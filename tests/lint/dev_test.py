"""Tests the command line of ./dev: its help, and its answers to wrong use."""

import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = ["setup", "build", "test", "demo", "bench", "sim", "compose", "distro", "fuzz", "lint", "fmt"]


def dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "dev", *arguments], capture_output=True, text=True, check=False, cwd="/")


class Dev(unittest.TestCase):
    def test_without_a_command_it_lists_all_commands(self) -> None:
        for arguments in ([], ["--help"], ["help"]):
            done = dev(*arguments)
            self.assertEqual(done.returncode, 0)
            self.assertEqual(re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE), COMMANDS)

    def test_wrong_use_is_named_and_exits_with_2(self) -> None:
        for arguments, word in (
            (["frobnicate"], '"frobnicate"'),
            (["build", "fastest"], '"fastest"'),
            (["bench"], '""'),
            (["bench", "../integration"], '"../integration"'),
            (["setup", "everything"], '"everything"'),
            (["test", "--repeat"], '""'),
            (["test", "--repeat", "often"], '"often"'),
            (["distro"], '""'),
            (["distro", "potato"], '"potato"'),
            (["fuzz", "nothing", "60"], '"nothing"'),
            (["fuzz", "../fuzz/config", "60"], '"../fuzz/config"'),
            (["fuzz", "config"], '""'),
            (["fuzz", "config", "soon"], '"soon"'),
            (["fuzz", "config", "0"], '"0"'),
        ):
            done = dev(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(word, done.stderr)

    def test_fuzz_alone_lists_the_targets_and_each_has_a_corpus(self) -> None:
        done = dev("fuzz")
        self.assertEqual(done.returncode, 0)
        targets = done.stdout.split()
        self.assertIn("length_field", targets)
        self.assertEqual(targets, sorted(path.name for path in (ROOT / "tests/fuzz/corpus").iterdir() if path.is_dir()))

    def test_every_package_group_is_a_list_of_names(self) -> None:
        for group in ("build", "test", "bench", "docker", "lint", "distro", "fuzz"):
            done = subprocess.run([ROOT / "scripts/packages", group], capture_output=True, text=True, check=True)
            self.assertRegex(done.stdout, r"\A([a-z0-9][a-z0-9.+-]+\n)+\Z")

    def test_failed_tests_prints_the_output_of_failed_tests_only(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            logs = pathlib.Path(folder, "Testing/Temporary")
            logs.mkdir(parents=True)
            (logs / "LastTestsFailed.log").write_text("2:second.test\n")
            (logs / "LastTest.log").write_text(
                "".join(
                    f"{i}/3 Testing: {name}\n{i}/3 Test: {name}\nOutput:\n---\nsaid by {name}\n<end of output>\nTest time\n"
                    for i, name in enumerate(("first.test", "second.test", "second.test.too"), 1)
                )
            )
            done = subprocess.run([ROOT / "scripts/failed_tests", folder], capture_output=True, text=True, check=True)
            self.assertEqual(done.stdout.splitlines()[0], "== second.test")
            self.assertEqual(re.findall("said by.*", done.stdout), ["said by second.test"])


if __name__ == "__main__":
    unittest.main()
