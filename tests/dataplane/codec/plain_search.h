// A reference for the delimiter codec: std::string::find from the front of each message. Slow, but
// correct by inspection.
#pragma once

#include <string>

#include "dataplane/codec/delimiter.h"
#include "tests/dataplane/codec/feed.h"

namespace trunkline::test {

inline Fed PlainSearch(std::string text, const std::string& delimiter, size_t max_message_bytes) {
  Fed fed;
  size_t before = 0;  // bytes of complete messages
  while (true) {
    const size_t found = text.find(delimiter);
    const bool ends = found != std::string::npos;
    const size_t size = ends ? found + delimiter.size() : text.size();
    if (size > max_message_bytes || (!ends && size == max_message_bytes)) {
      fed.broken = true;
      fed.fault = kNoDelimiterFault;
      fed.broken_at = before + max_message_bytes;
      return fed;
    }
    if (!ends) {
      fed.rest = text;
      return fed;
    }
    fed.messages.push_back(text.substr(0, size));
    fed.notes.emplace_back();
    text.erase(0, size);
    before += size;
  }
}

}  // namespace trunkline::test
