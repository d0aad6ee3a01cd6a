// Messages that say how long they are, in a field at a fixed place: most binary protocols.
//
// The parameters are Netty's (LengthFieldBasedFrameDecoder), as far as a proxy can have them:
//     message bytes = length_offset + length_size + length_adjustment + value of the field
// Nothing is stripped, for the server gets what the client sent, and a message that is too long is
// refused at its length field, whatever follows. Requests and replies have the same framing.
//
//                                   offset  size  adjustment  id
//     DNS over TCP                     0      2        0      2, size 2
//     DLMS wrapper of meters           6      2        0
//     memcached's binary protocol      8      4      +12      12, size 4
//     TPKT (RFC 1006)                  2      2       -4
// memcached: 12 more bytes of header follow the field. TPKT: the value counts its header of 4.
//
// It knows nothing of what a message means. So it is right where every request has one reply and
// none changes its connection. PostgreSQL and MySQL have such fields and are not: a query there has
// many replies, and a log-in or a transaction is its connection's.
//
// A field of 8 bytes, a negative adjustment, a value near 2^64: no sum here overflows, and a length
// that ends inside of its own header is no message.
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
  // Where the field is, in bytes from the front of the message, and how wide: 1, 2, 3, 4 or 8.
  uint64_t length_offset = 0;
  uint64_t length_size = 4;
  // Of the field's value; it is unsigned.
  ByteOrder byte_order = ByteOrder::kBig;
  // What to add to the value so that it counts the bytes that follow the field. Negative where it
  // counts some that come before: -4 for a field of 4 bytes that counts itself.
  int64_t length_adjustment = 0;
  // The whole message, header and all.
  uint64_t max_message_bytes = kDefaultMaxMessageBytes;
  // Where requests and replies carry the request's id, if both do so in the same place. Its byte
  // order does not matter: a server only repeats it. None: replies come in the order of requests.
  std::optional<IdField> id;
};

// INVALID_ARGUMENT names the option, what was expected and what came: parameters with which no
// message could be right are refused here and not on the first connection.
absl::StatusOr<std::unique_ptr<Codec>> NewLengthFieldCodec(const LengthFieldOptions& options);

}  // namespace trunkline
