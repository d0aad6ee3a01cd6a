"""Tests that a file which was clean is checked again when the configuration of clang-tidy changes."""

import importlib.machinery
import importlib.util
import os
import pathlib
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts/lint_cxx"


def configurations_of(files: dict[str, str]) -> list[str]:
    """Returns what the script makes of a tree of {path: text}."""
    loader = importlib.machinery.SourceFileLoader("lint_cxx", str(SCRIPT))
    spec = importlib.util.spec_from_loader("lint_cxx", loader)
    assert spec is not None
    lint_cxx = importlib.util.module_from_spec(spec)
    loader.exec_module(lint_cxx)
    before = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        os.chdir(root)
        try:
            found: list[str] = lint_cxx.configurations()
        finally:
            os.chdir(before)
    return found


class LintCxx(unittest.TestCase):
    def test_every_configuration_of_the_tree_counts(self) -> None:
        files = {".clang-tidy": "a", "tests/.clang-tidy": "b", "common/net/.clang-tidy": "c", "build/.clang-tidy": "d"}
        before = configurations_of(files)
        self.assertEqual(len(before), 3)
        for name in (".clang-tidy", "tests/.clang-tidy", "common/net/.clang-tidy"):
            self.assertNotEqual(configurations_of({**files, name: "x"}), before, name)
        self.assertEqual(configurations_of({**files, "build/.clang-tidy": "x"}), before)


if __name__ == "__main__":
    unittest.main()
