// Messages that carry their length in a field at a fixed offset, as in most binary protocols.
//
// The parameters are those of Netty's LengthFieldBasedFrameDecoder that apply to a proxy:
//     message bytes = length_offset + length_size + length_adjustment + value of the field
// Nothing is stripped, because the server gets the bytes that the client sent. A message that is
// too long is refused at its length field. Requests and replies have the same framing.
//
//                                   offset  size  adjustment  id
//     DNS over TCP                     0      2        0      2, size 2
//     DLMS wrapper of meters           6      2        0
//     memcached's binary protocol      8      4      +12      12, size 4
//     TPKT (RFC 1006)                  2      2       -4
// memcached: 12 more bytes of header follow the field. TPKT: the value counts its header of 4.
//
// The codec does not know the meaning of a message. It suits protocols in which every request has
// one reply, or none has (`one_way`), and no request changes its connection. PostgreSQL and MySQL
// have length fields but do not qualify: a query has many replies, and a login or a transaction
// belongs to its connection.
//
// No sum here overflows, not even with a field of 8 bytes, a negative adjustment and a value near
// 2^64. A length that ends inside the message's own header is refused.
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/message_limit.h"

namespace trunkline {

enum class ByteOrder { kBig, kLittle };

struct LengthFieldOptions {
  // Offset of the field in bytes, and its width: 1, 2, 3, 4 or 8.
  uint64_t length_offset = 0;
  uint64_t length_size = 4;
  // Byte order of the field's value, which is unsigned.
  ByteOrder byte_order = ByteOrder::kBig;
  // Added to the value to get the number of bytes that follow the field. It is negative if the
  // value counts bytes before that: -4 for a field of 4 bytes that counts itself.
  int64_t length_adjustment = 0;
  // Bound on a message with its header.
  uint64_t max_message_bytes = kDefaultMaxMessageBytes;
  // The place of the id, if requests and replies carry one at the same place; without it, replies
  // come in the order of requests. Its byte order does not matter, because a server only repeats
  // it.
  std::optional<IdField> id;
  // No message has a reply. Not with an id.
  bool one_way = false;
};

// Returns INVALID_ARGUMENT with the option, the expected and the actual value. Parameters that no
// message could satisfy are refused here, not on the first connection.
absl::StatusOr<std::unique_ptr<Codec>> NewLengthFieldCodec(const LengthFieldOptions& options);

}  // namespace trunkline
