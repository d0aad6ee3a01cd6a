#include "dataplane/control/codecs.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"
#include "common/config/message_options.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/http1.h"
#include "dataplane/codec/length_field.h"
#include "dataplane/codec/memcached.h"
#include "dataplane/codec/message_limit.h"
#include "dataplane/codec/modbus_tcp.h"
#include "dataplane/codec/redis.h"
#include "dataplane/codec/redis_introduction.h"
#include "dataplane/control/password_file.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

using MadeCodec = absl::StatusOr<std::unique_ptr<Codec>>;

LengthFieldOptions ReadLengthField(const v1::LengthFieldCodec& from, uint64_t max_message_bytes) {
  LengthFieldOptions options = {
      .length_offset = from.offset(),
      .length_size = from.length(),
      .byte_order = from.little_endian() ? ByteOrder::kLittle : ByteOrder::kBig,
      .length_adjustment = from.adjustment(),
      .max_message_bytes = max_message_bytes};
  if (from.has_id_length())
    options.id = IdField{.offset = from.id_offset(), .size = from.id_length()};
  options.one_way = from.one_way();
  return options;
}

DelimiterOptions ReadDelimiter(const v1::DelimiterCodec& from, uint64_t max_message_bytes) {
  return {.delimiter = from.delimiter(),
          .max_message_bytes = max_message_bytes,
          .shared_prefixes = {from.shared_prefixes().begin(), from.shared_prefixes().end()},
          .one_way = from.one_way()};
}

absl::StatusOr<RedisCredential> ReadCredential(const v1::RedisAuth& auth, std::string_view field) {
  absl::StatusOr<std::string> password = ReadPasswordFile(auth.password_file());
  if (password.ok()) return RedisCredential{.user = auth.user(), .password = *password};
  return absl::InvalidArgumentError(
      absl::StrCat(AbslView(field), ".password_file: ", password.status().message()));
}

MadeCodec MakeRedis(const v1::RedisCodec& from, uint64_t max_request_bytes) {
  RedisOptions options = {.max_request_bytes = max_request_bytes};
  if (from.has_auth()) {
    absl::StatusOr<RedisCredential> read = ReadCredential(from.auth(), "message.redis.auth");
    if (!read.ok()) return read.status();
    options.credential = *std::move(read);
  }
  return NewRedisCodec(std::move(options));
}

MadeCodec Make(const v1::MessageOptions& from) {
  const uint64_t max =
      from.has_max_message_bytes() ? from.max_message_bytes() : kDefaultMaxMessageBytes;
  switch (from.codec_case()) {
    case v1::MessageOptions::kLengthField:
      return NewLengthFieldCodec(ReadLengthField(from.length_field(), max));
    case v1::MessageOptions::kDelimiter:
      return NewDelimiterCodec(ReadDelimiter(from.delimiter(), max));
    case v1::MessageOptions::kModbusTcp:
      return NewModbusTcpCodec();
    case v1::MessageOptions::kRedis:
      return MakeRedis(from.redis(), max);
    case v1::MessageOptions::kMemcached:
      return NewMemcachedCodec({.max_request_bytes = max});
    case v1::MessageOptions::kHttp1:
      return NewHttp1Codec({.max_request_bytes = max,
                            .idempotent_methods = {from.http1().idempotent_methods().begin(),
                                                   from.http1().idempotent_methods().end()}});
    case v1::MessageOptions::CODEC_NOT_SET:
      break;
  }
  return CheckMessageOptions(from);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Codec>> MakeCodec(const v1::MessageOptions& options) {
  if (absl::Status fits = CheckMessageOptions(options); !fits.ok()) return fits;
  MadeCodec made = Make(options);
  if (!made.ok()) return made.status();
  return std::shared_ptr<const Codec>(*std::move(made));
}

absl::StatusOr<std::shared_ptr<const Codec>> MakeRedisLogin(const v1::RedisAuth& auth,
                                                            std::string_view field) {
  absl::StatusOr<RedisCredential> credential = ReadCredential(auth, field);
  if (!credential.ok()) return credential.status();
  return std::shared_ptr<const Codec>(NewRedisCodec({.credential = *std::move(credential)}));
}

}  // namespace trunkline
