#include "common/base/json_text.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_format.h"
#include "common/base/utf8.h"

namespace trunkline {
namespace {

constexpr std::string_view kReplacement = "\\ufffd";

void AppendAscii(char c, std::string* out) {
  switch (c) {
    case '"':
      out->append("\\\"");
      return;
    case '\\':
      out->append("\\\\");
      return;
    case '\n':
      out->append("\\n");
      return;
    case '\r':
      out->append("\\r");
      return;
    case '\t':
      out->append("\\t");
      return;
    default:
      break;
  }
  if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) {
    absl::StrAppendFormat(out, "\\u%04x", static_cast<uint8_t>(c));
  } else {
    out->push_back(c);
  }
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  out->push_back('"');
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    if (length == 0) {
      out->append(kReplacement);
    } else if (length == 1) {
      AppendAscii(text.front(), out);
    } else {
      out->append(text.substr(0, length));
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  out->push_back('"');
}

}  // namespace trunkline
