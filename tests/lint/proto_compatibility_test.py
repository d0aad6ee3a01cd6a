"""The protocol is compatible with the last release, and the comparison finds each kind of incompatible change."""

import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "proto_compatibility"
BEFORE = """
syntax = "proto3";
package p;
import "trunkline/v1/options.proto";
message M {
  double share = 5 [(trunkline.v1.rule) = {min: 0 max: 1 default_value: "0.5"}];
  uint32 count = 1;
  string name = 2;
  oneof choice { string a = 3; }
  map<string, double> shares = 4;
}
message Reply {}
enum Color { COLOR_UNSPECIFIED = 0; COLOR_RED = 1; }
service S { rpc Get(M) returns (Reply); rpc Watch(M) returns (stream Reply); }
"""


def run(*arguments: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)


class ProtoCompatibility(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def compile(self, name: str, text: str) -> pathlib.Path:
        (self.folder / f"{name}.proto").write_text(text)
        out = self.folder / f"{name}.binpb"
        subprocess.run(
            [
                "protoc",
                f"--proto_path={self.folder}",
                f"--proto_path={ROOT / 'proto'}",
                f"--descriptor_set_out={out}",
                f"{name}.proto",
            ],
            check=True,
        )
        return out

    def compare_after(self, *replacements: tuple[str, str]) -> subprocess.CompletedProcess[str]:
        after = BEFORE
        for old, new in replacements:
            self.assertIn(old, after)
            after = after.replace(old, new)
        return run(self.compile("before", BEFORE), self.compile("after", after))

    def test_last_release_is_compatible(self) -> None:
        done = run()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        if not list((ROOT / "proto" / "released").glob("*.binpb")):
            self.assertIn("no release yet", done.stdout)

    def test_additions_are_compatible(self) -> None:
        done = self.compare_after(
            ("string name = 2;", "string name = 2; double added = 9;"),
            ("COLOR_RED = 1;", "COLOR_RED = 1; COLOR_BLUE = 2;"),
            ("max: 1", "max: 2"),
            ("message Reply {}", "message Reply {} message Added {}"),
            ("returns (Reply);", "returns (Reply); rpc Put(M) returns (Reply);"),
        )
        self.assertEqual((done.returncode, done.stdout), (0, "proto_compatibility: compatible\n"))

    def test_incompatible_changes_are_named(self) -> None:
        for (old, new), line in {
            ("string name = 2;", ""): "p.M.name: field 2 was removed",
            ("string name = 2;", "string title = 2;"): "p.M.name: field 2 was renamed to title",
            ("string name = 2;", "bytes name = 2;"): "p.M.name: its type was string and is bytes",
            (
                "uint32 count = 1;",
                "repeated uint32 count = 1;",
            ): "p.M.count: its type was uint32 and is repeated uint32",
            ("oneof choice { string a = 3; }", "string a = 3;"): "p.M.a: its oneof was choice and is none",
            ("map<string, double> shares", "map<string, float> shares"): "p.M.SharesEntry.value: its type was double",
            ("max: 1", "max: 0.9"): "p.M.share: its rule excludes values that were valid",
            ("min: 0 ", "required: true min: 0 "): "p.M.share: its rule excludes values that were valid",
            ('"0.5"', '"0.7"'): "p.M.share: its default was 0.5 and is 0.7",
            ("COLOR_RED = 1;", ""): "p.Color.COLOR_RED: value 1 was removed",
            ("COLOR_RED = 1;", "COLOR_BLUE = 1;"): "p.Color.COLOR_RED: value 1 was renamed to COLOR_BLUE",
            ("rpc Get(M) returns (Reply);", ""): "p.S.Get: the method was removed",
            ("returns (stream Reply)", "returns (Reply)"): "p.S.Watch: it was (p.M) returns (stream p.Reply)",
        }.items():
            done = self.compare_after((old, new))
            self.assertEqual(done.returncode, 1, new)
            self.assertIn(line, done.stdout)

    def test_protocol_is_compatible_with_itself(self) -> None:
        everything = self.folder / "everything.binpb"
        files = [str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto")]
        subprocess.run(
            ["protoc", f"--proto_path={ROOT / 'proto'}", f"--descriptor_set_out={everything}", *files], check=True
        )
        self.assertEqual(run(everything, everything).returncode, 0)


if __name__ == "__main__":
    unittest.main()
