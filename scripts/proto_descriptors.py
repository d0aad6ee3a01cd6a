"""Reads protobuf descriptor sets, which protoc writes, without a protobuf library.

Message, Field and the other classes hold what the configuration reference and the compatibility check need. Field numbers
in this file are those of google/protobuf/descriptor.proto and trunkline/v1/options.proto.
"""

import dataclasses
import pathlib
import struct
import subprocess
import tempfile
from typing import Any

# A serialized message, by field number: the values of each field in their order. Submessages and text are bytes.
Fields = dict[int, list[Any]]
# Where something stands in a .proto file, as protobuf counts it; the key of a comment.
Path = tuple[int, ...]

ROOT = pathlib.Path(__file__).parents[1]
RULE_EXTENSION = 50100
TYPES = {
    1: "double",
    2: "float",
    3: "int64",
    4: "uint64",
    5: "int32",
    6: "fixed64",
    7: "fixed32",
    8: "bool",
    9: "string",
    10: "group",
    11: "message",
    12: "bytes",
    13: "uint32",
    14: "enum",
    15: "sfixed32",
    16: "sfixed64",
    17: "sint32",
    18: "sint64",
}


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns the number that starts at `at`, and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def decode(data: bytes) -> Fields:
    """Returns the fields of a serialized message."""
    fields: Fields = {}
    value: Any
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == 0:
            value, at = read_varint(data, at)
        elif tag & 7 == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif tag & 7 == 2:
            size, at = read_varint(data, at)
            value, at = data[at : at + size], at + size
        elif tag & 7 == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            raise ValueError(f"wire type {tag & 7} in a descriptor set")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def text(fields: Fields, number: int) -> str:
    """Returns the text of a field, which is empty if the message does not hold the field."""
    return fields[number][-1].decode() if number in fields else ""


@dataclasses.dataclass
class Rule:
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    default: str = ""
    is_address: bool = False


@dataclasses.dataclass
class Field:
    name: str
    number: int
    type: str
    type_name: str
    repeated: bool
    oneof: str
    comment: str
    rule: Rule


@dataclasses.dataclass
class Message:
    name: str
    comment: str
    fields: list[Field]


@dataclasses.dataclass
class Value:
    name: str
    number: int
    comment: str


@dataclasses.dataclass
class Enum:
    name: str
    comment: str
    values: list[Value]


@dataclasses.dataclass
class Method:
    name: str
    request: str
    response: str


class Descriptors:
    """Holds messages, enums and methods by their full name, for example "trunkline.v1.Snapshot"."""

    def __init__(self, data: bytes) -> None:
        self.messages: dict[str, Message] = {}
        self.enums: dict[str, Enum] = {}
        self.methods: dict[str, Method] = {}
        self._comments: dict[Path, str] = {}  # of the file that is being read
        for file in decode(data).get(1, []):
            self._read_file(decode(file))

    def _read_file(self, file: Fields) -> None:
        self._comments = {}
        for info in file.get(9, []):
            for location in map(decode, decode(info).get(1, [])):
                path: list[int] = []
                packed, at = location.get(1, [b""])[0], 0
                while at < len(packed):
                    number, at = read_varint(packed, at)
                    path.append(number)
                self._comments[tuple(path)] = " ".join(text(location, 3).split())
        package = text(file, 2)
        for index, message in enumerate(file.get(4, [])):
            self._read_message(decode(message), package, (4, index))
        for index, enum in enumerate(file.get(5, [])):
            self._read_enum(decode(enum), package, (5, index))
        for service in map(decode, file.get(6, [])):
            for method in map(decode, service.get(2, [])):
                name = f"{package}.{text(service, 1)}.{text(method, 1)}"
                stream = ["stream " if number in method and method[number][-1] else "" for number in (5, 6)]
                self.methods[name] = Method(name, stream[0] + text(method, 2)[1:], stream[1] + text(method, 3)[1:])

    def _comment(self, path: Path) -> str:
        return self._comments.get(path, "")

    def _read_message(self, message: Fields, scope: str, path: Path) -> None:
        name = f"{scope}.{text(message, 1)}"
        oneofs = [text(decode(oneof), 1) for oneof in message.get(8, [])]
        fields = [
            self._read_field(decode(field), oneofs, path + (2, index)) for index, field in enumerate(message.get(2, []))
        ]
        self.messages[name] = Message(name, self._comment(path), fields)
        for index, nested in enumerate(message.get(3, [])):
            self._read_message(decode(nested), name, path + (3, index))
        for index, enum in enumerate(message.get(4, [])):
            self._read_enum(decode(enum), name, path + (4, index))

    def _read_field(self, field: Fields, oneofs: list[str], path: Path) -> Field:
        is_in_oneof = 9 in field and not field.get(17, [0])[-1]  # proto3's `optional` is a oneof of one field
        options = decode(field[8][-1]) if 8 in field else {}
        rule = decode(options[RULE_EXTENSION][-1]) if RULE_EXTENSION in options else {}
        return Field(
            name=text(field, 1),
            number=field[3][-1],
            type=TYPES[field[5][-1]],
            type_name=text(field, 6)[1:],
            repeated=field.get(4, [1])[-1] == 3,
            oneof=oneofs[field[9][-1]] if is_in_oneof else "",
            comment=self._comment(path),
            rule=Rule(
                required=bool(rule.get(1, [0])[-1]),
                minimum=rule.get(2, [None])[-1],
                maximum=rule.get(3, [None])[-1],
                default=text(rule, 7),
                is_address=bool(rule.get(5, [0])[-1]),
            ),
        )

    def _read_enum(self, enum: Fields, scope: str, path: Path) -> None:
        name = f"{scope}.{text(enum, 1)}"
        values = []
        for index, value in enumerate(map(decode, enum.get(2, []))):
            values.append(Value(text(value, 1), value.get(2, [0])[-1], self._comment(path + (2, index))))
        self.enums[name] = Enum(name, self._comment(path), values)


def compile_protos(folder: pathlib.Path = ROOT / "proto") -> bytes:
    """Returns the descriptor set of all files below the folder, with comments."""
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "set.binpb"
        subprocess.run(
            ["protoc", f"--proto_path={folder}", f"--descriptor_set_out={out}", "--include_source_info", *files],
            check=True,
        )
        return out.read_bytes()
