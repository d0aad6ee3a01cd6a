#include "dataplane/codec/modbus_tcp.h"

#include <algorithm>
#include <string_view>

#include "dataplane/codec/symmetric_parsers.h"

namespace trunkline {
namespace {

constexpr IdField kTransaction = {.offset = 0, .size = 2};
constexpr size_t kProtocolOffset = 2;
constexpr size_t kLengthOffset = 4;
// Bytes up to the end of the length field, whose value counts the bytes behind it.
constexpr size_t kCountedFrom = 6;
// At least the unit and a function code.
constexpr size_t kMinLength = 2;
constexpr size_t kMaxLength = kMaxModbusTcpMessageBytes - kCountedFrom;
static_assert(kMaxLength < 256, "the length's first byte is 0");

class ModbusTcpFramer {
 public:
  ParseStep Parse(std::span<const uint8_t> bytes) {
    size_t used = 0;
    while (seen_ < kCountedFrom) {
      if (used == bytes.size()) return {used, ParseState::kMore};
      if (!TakeHeaderByte(bytes[used++])) return {used, ParseState::kBroken};
    }
    const size_t rest = std::min(bytes.size() - used, total_ - seen_);
    seen_ += rest;
    used += rest;
    if (seen_ < total_) return {used, ParseState::kMore};
    seen_ = 0;
    return {used, ParseState::kEnd};
  }

 private:
  // Returns false if the bytes are no Modbus.
  bool TakeHeaderByte(uint8_t byte) {
    const size_t at = seen_++;
    if (at < kProtocolOffset) return true;
    if (at <= kLengthOffset) return byte == 0;
    total_ = kCountedFrom + byte;
    return byte >= kMinLength && byte <= kMaxLength;
  }

  size_t seen_ = 0;   // bytes of the message so far
  size_t total_ = 0;  // bytes of the message; 0 before its length is known
};

class ModbusTcpCodec final : public Codec {
 public:
  std::string_view name() const override { return "modbus_tcp"; }
  bool always_shares() const override { return true; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return std::make_unique<SymmetricRequestParser<ModbusTcpFramer>>(ModbusTcpFramer());
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<SymmetricReplyParser<ModbusTcpFramer>>(ModbusTcpFramer());
  }
  std::optional<IdField> id_field() const override { return kTransaction; }
};

}  // namespace

std::unique_ptr<Codec> NewModbusTcpCodec() { return std::make_unique<ModbusTcpCodec>(); }

}  // namespace trunkline
