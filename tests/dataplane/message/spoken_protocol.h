// The protocols of message mode as a test speaks them: requests and replies that name their client
// and number, and the messages in a stream of bytes.
//
// Pure; confined to its test's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/http1.h"
#include "dataplane/codec/length_field.h"
#include "dataplane/codec/memcached.h"
#include "dataplane/codec/modbus_tcp.h"
#include "dataplane/codec/redis.h"

namespace trunkline::test {

enum class Protocol { kLines, kFrames, kFramesWithId, kRedis, kMemcached, kHttp, kModbus };

inline constexpr Protocol kProtocols[] = {
    Protocol::kLines,     Protocol::kFrames, Protocol::kFramesWithId, Protocol::kRedis,
    Protocol::kMemcached, Protocol::kHttp,   Protocol::kModbus};

inline std::string NameOf(Protocol protocol) {
  constexpr const char* kNames[] = {"Lines",     "Frames", "FramesWithId", "Redis",
                                    "Memcached", "Http",   "Modbus"};
  return kNames[static_cast<size_t>(protocol)];
}

inline bool HasIds(Protocol protocol) {
  return protocol == Protocol::kFramesWithId || protocol == Protocol::kModbus;
}

inline std::shared_ptr<const Codec> CodecOf(Protocol protocol) {
  switch (protocol) {
    case Protocol::kLines:
      return NewDelimiterCodec({.delimiter = "\n"}).value();
    case Protocol::kFrames:
      return NewLengthFieldCodec({.length_size = 2}).value();
    case Protocol::kFramesWithId:
      return NewLengthFieldCodec(
                 {.length_offset = 2, .length_size = 2, .id = IdField{.offset = 0, .size = 2}})
          .value();
    case Protocol::kRedis:
      return NewRedisCodec({});
    case Protocol::kMemcached:
      return NewMemcachedCodec({});
    case Protocol::kHttp:
      return NewHttp1Codec({});
    case Protocol::kModbus:
      return NewModbusTcpCodec();
  }
  return nullptr;
}

inline std::string BigEndian(size_t value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}
inline uint16_t ReadBigEndian(std::string_view bytes) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[0]) << 8 |
                               static_cast<uint8_t>(bytes[1]));
}

// Unit and function code of every Modbus message.
inline constexpr char kUnitAndFunction[] = "\x01\x03";

// `content` is short and has letters and digits only. `id` is used if the protocol has one.
inline std::string WrapRequest(Protocol protocol, uint16_t id, const std::string& content) {
  switch (protocol) {
    case Protocol::kLines:
      return content + "\n";
    case Protocol::kFrames:
      return BigEndian(content.size()) + content;
    case Protocol::kFramesWithId:
      return BigEndian(id) + BigEndian(content.size()) + content;
    case Protocol::kRedis:
      return absl::StrCat("GET ", content, "\r\n");
    case Protocol::kMemcached:
      return absl::StrCat("get ", content, "\r\n");
    case Protocol::kHttp:
      return absl::StrCat("GET /", content, " HTTP/1.1\r\nHost: a\r\n\r\n");
    case Protocol::kModbus:
      return BigEndian(id) + BigEndian(0) + BigEndian(content.size() + 2) + kUnitAndFunction +
             content;
  }
  return "";
}

inline std::string WrapReply(Protocol protocol, uint16_t id, const std::string& content) {
  if (protocol == Protocol::kRedis)
    return absl::StrCat("$", content.size(), "\r\n", content, "\r\n");
  if (protocol == Protocol::kMemcached)
    return absl::StrCat("VALUE k 0 ", content.size(), "\r\n", content, "\r\nEND\r\n");
  if (protocol == Protocol::kHttp) {
    return absl::StrCat("HTTP/1.1 200 OK\r\nContent-Length: ", content.size(), "\r\n\r\n", content);
  }
  return WrapRequest(protocol, id, content);
}

struct Message {
  uint16_t id = 0;
  std::string content;
  bool local_reply = false;  // an error that the proxy made
};

// Takes the first `size` bytes of `bytes` as a message, if they are there.
inline std::optional<Message> TakeMessage(std::string& bytes, size_t header, size_t size,
                                          uint16_t id = 0) {
  if (bytes.size() < header + size) return std::nullopt;
  Message message = {.id = id, .content = bytes.substr(header, size)};
  bytes.erase(0, header + size);
  return message;
}

// Takes the next message off a client's or a server's stream. Other bytes than those of complete
// messages stay.
inline std::optional<Message> TakeLine(std::string& bytes, std::string_view end) {
  const size_t at = bytes.find(end);
  if (at == std::string::npos) return std::nullopt;
  Message message = {.content = bytes.substr(0, at)};
  bytes.erase(0, at + end.size());
  return message;
}

inline std::optional<Message> TakeRedis(std::string& bytes) {
  if (bytes.empty()) return std::nullopt;
  if (bytes[0] == '$') {
    const size_t at = bytes.find("\r\n");
    size_t size = 0;
    if (at == std::string::npos || !absl::SimpleAtoi(bytes.substr(1, at - 1), &size))
      return std::nullopt;
    if (bytes.size() < at + size + 4) return std::nullopt;
    Message message = {.content = bytes.substr(at + 2, size)};
    bytes.erase(0, at + size + 4);
    return message;
  }
  std::optional<Message> line = TakeLine(bytes, "\r\n");
  if (!line) return std::nullopt;
  line->local_reply = line->content.starts_with("-ERR");
  if (line->content.starts_with("GET ")) line->content.erase(0, 4);
  return line;
}

inline std::optional<Message> TakeMemcached(std::string& bytes) {
  constexpr std::string_view kValue = "VALUE k 0 ";
  constexpr std::string_view kEnd = "\r\nEND\r\n";
  const size_t line = bytes.find("\r\n");
  if (line == std::string::npos) return std::nullopt;
  size_t size = 0;
  if (bytes.starts_with(kValue) &&
      absl::SimpleAtoi(bytes.substr(kValue.size(), line - kValue.size()), &size)) {
    if (bytes.size() < line + 2 + size + kEnd.size()) return std::nullopt;
    Message message = {.content = bytes.substr(line + 2, size)};
    bytes.erase(0, line + 2 + size + kEnd.size());
    return message;
  }
  std::optional<Message> message = TakeLine(bytes, "\r\n");
  message->local_reply = message->content.starts_with("SERVER_ERROR");
  if (message->content.starts_with("get ")) message->content.erase(0, 4);
  return message;
}

inline std::optional<Message> TakeHttp(std::string& bytes) {
  const size_t head = bytes.find("\r\n\r\n");
  if (head == std::string::npos) return std::nullopt;
  const std::string start = bytes.substr(0, bytes.find("\r\n"));
  if (start.starts_with("GET /")) {
    bytes.erase(0, head + 4);
    return Message{.content = start.substr(5, start.rfind(' ') - 5)};
  }
  const size_t field = bytes.find("Content-Length: ");
  size_t size = 0;
  const bool sized =
      field < head &&
      absl::SimpleAtoi(bytes.substr(field + 16, bytes.find("\r\n", field) - field - 16), &size);
  if (!sized) size = 0;
  std::optional<Message> message = TakeMessage(bytes, head + 4, size);
  if (message) message->local_reply = start.find(" 200 ") == std::string::npos;
  return message;
}

inline std::optional<Message> Take(Protocol protocol, std::string& bytes) {
  switch (protocol) {
    case Protocol::kLines:
      return TakeLine(bytes, "\n");
    case Protocol::kFrames:
      if (bytes.size() < 2) return std::nullopt;
      return TakeMessage(bytes, 2, ReadBigEndian(bytes));
    case Protocol::kFramesWithId:
      if (bytes.size() < 4) return std::nullopt;
      return TakeMessage(bytes, 4, ReadBigEndian(bytes.substr(2)), ReadBigEndian(bytes));
    case Protocol::kRedis:
      return TakeRedis(bytes);
    case Protocol::kMemcached:
      return TakeMemcached(bytes);
    case Protocol::kHttp:
      return TakeHttp(bytes);
    case Protocol::kModbus:
      if (bytes.size() < 8 || ReadBigEndian(bytes.substr(4)) < 2) return std::nullopt;
      return TakeMessage(bytes, 8, ReadBigEndian(bytes.substr(4)) - 2u, ReadBigEndian(bytes));
  }
  return std::nullopt;
}

}  // namespace trunkline::test
