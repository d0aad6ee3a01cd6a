#include "common/config/message_options.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"
#include "common/config/http_token.h"
#include "common/config/rule_check.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

constexpr size_t kMaxDelimiterBytes = 16;
// Enough for the commands of a large protocol.
constexpr int kMaxSharedPrefixes = 64;
constexpr size_t kMaxSharedPrefixBytes = 32;
constexpr int kMaxMethods = 16;
constexpr size_t kMaxMethodBytes = 16;
constexpr size_t kMaxUserBytes = 512;
constexpr size_t kMaxPathBytes = 4095;

absl::Status Unexpected(const char* field, const std::string& expected, uint64_t got) {
  return absl::InvalidArgumentError(
      absl::StrCat("message.", field, ": expected ", expected, "; got ", got));
}

absl::Status CheckLengthField(const v1::LengthFieldCodec& codec) {
  switch (codec.length()) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 8:
      break;
    default:
      return Unexpected("length_field.length", "1, 2, 3, 4 or 8", codec.length());
  }
  if (!codec.has_id_length()) return absl::OkStatus();
  if (codec.one_way()) {
    return Unexpected("length_field.id_length", "none beside one_way", codec.id_length());
  }
  switch (codec.id_length()) {
    case 2:
    case 4:
    case 8:
      return absl::OkStatus();
    default:
      return Unexpected("length_field.id_length", "2, 4 or 8", codec.id_length());
  }
}

absl::Status CheckDelimiter(const v1::DelimiterCodec& codec) {
  const size_t size = codec.delimiter().size();
  if (size < 1 || size > kMaxDelimiterBytes) {
    return Unexpected("delimiter.delimiter", absl::StrCat("1 to ", kMaxDelimiterBytes, " bytes"),
                      size);
  }
  if (codec.one_way() && codec.shared_prefixes_size() > 0) {
    return Unexpected("delimiter.shared_prefixes", "none beside one_way",
                      static_cast<uint64_t>(codec.shared_prefixes_size()));
  }
  if (codec.shared_prefixes_size() > kMaxSharedPrefixes) {
    return Unexpected("delimiter.shared_prefixes", absl::StrCat("at most ", kMaxSharedPrefixes),
                      static_cast<uint64_t>(codec.shared_prefixes_size()));
  }
  for (const std::string& prefix : codec.shared_prefixes()) {
    if (prefix.empty() || prefix.size() > kMaxSharedPrefixBytes) {
      return Unexpected("delimiter.shared_prefixes",
                        absl::StrCat("1 to ", kMaxSharedPrefixBytes, " bytes each"), prefix.size());
    }
  }
  return absl::OkStatus();
}

// Servers of the other protocols wait for a request. A request outside shared_prefixes gives its
// client a connection of its own, whose greeting would reach the client as a reply.
absl::Status CheckGreeting(const v1::MessageOptions& options) {
  switch (options.greeting()) {
    case v1::GREETING_UNSPECIFIED:
      return absl::OkStatus();
    case v1::GREETING_ONE_MESSAGE:
      break;
    default:
      return Unexpected("greeting", "one_message or nothing",
                        static_cast<uint64_t>(options.greeting()));
  }
  if (!options.has_delimiter() && !options.has_length_field()) {
    return absl::InvalidArgumentError(
        "message.greeting: expected only with length_field or delimiter, because servers of the "
        "other protocols send nothing before a request; remove it");
  }
  if (options.delimiter().shared_prefixes_size() > 0) {
    return absl::InvalidArgumentError(
        "message.greeting: expected without delimiter.shared_prefixes, because a client with a "
        "connection of its own would take the greeting for a reply; remove one of them");
  }
  return absl::OkStatus();
}

absl::Status CheckHttp1(const v1::Http1Codec& codec, bool idempotent) {
  const auto refuse = [](const std::string& expected, const std::string& got) {
    return absl::InvalidArgumentError(
        absl::StrCat("message.http1.idempotent_methods: expected ", expected, "; got ", got));
  };
  const int count = codec.idempotent_methods_size();
  if (count > kMaxMethods) {
    return refuse(absl::StrCat("at most ", kMaxMethods, " methods"), absl::StrCat(count));
  }
  if (count > 0 && !idempotent) {
    return refuse("none, or message.idempotent: true beside them", absl::StrCat(count));
  }
  for (const std::string& name : codec.idempotent_methods()) {
    const bool fits = name.size() <= kMaxMethodBytes && IsHttpToken(name);
    if (fits && name != "CONNECT") continue;
    return refuse(absl::StrCat("methods of 1 to ", kMaxMethodBytes,
                               " letters, digits or other token characters, and not CONNECT"),
                  absl::StrCat("\"", absl::CHexEscape(name), "\""));
  }
  return absl::OkStatus();
}

}  // namespace

// Redis refuses users with spaces; a command cannot carry others more safely.
absl::Status CheckRedisAuth(const v1::RedisAuth& auth, std::string_view field) {
  const std::string& user = auth.user();
  const bool fits =
      user.size() <= kMaxUserBytes && std::all_of(user.begin(), user.end(), [](char c) {
        return absl::ascii_isgraph(static_cast<unsigned char>(c));
      });
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(
        AbslView(field), ".user: expected at most ", kMaxUserBytes,
        " letters, digits and punctuation marks; got \"", absl::CHexEscape(user), "\""));
  }
  const std::string& path = auth.password_file();
  if (path.size() > 1 && path.size() <= kMaxPathBytes && path[0] == '/' &&
      path.find('\0') == std::string::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(AbslView(field),
                   ".password_file: expected the absolute path of a file on every proxy; got \"",
                   absl::CHexEscape(path), "\""));
}

absl::Status CheckMessageOptions(const v1::MessageOptions& options) {
  if (absl::Status checked = CheckRules(options, "message"); !checked.ok()) return checked;
  if (absl::Status greeting = CheckGreeting(options); !greeting.ok()) return greeting;
  switch (options.codec_case()) {
    case v1::MessageOptions::kLengthField:
      return CheckLengthField(options.length_field());
    case v1::MessageOptions::kDelimiter:
      return CheckDelimiter(options.delimiter());
    case v1::MessageOptions::kHttp1:
      return CheckHttp1(options.http1(), options.idempotent());
    case v1::MessageOptions::kRedis:
      return options.redis().has_auth()
                 ? CheckRedisAuth(options.redis().auth(), "message.redis.auth")
                 : absl::OkStatus();
    case v1::MessageOptions::CODEC_NOT_SET:
      return absl::InvalidArgumentError(
          "message: expected one of length_field, delimiter, modbus_tcp, redis, memcached, http1; "
          "got "
          "none");
    default:
      return absl::OkStatus();
  }
}

}  // namespace trunkline
