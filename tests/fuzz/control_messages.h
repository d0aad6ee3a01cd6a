// Control messages from a fuzzer's bytes: one stream's worth of one type, in order.
//
// If the first byte is "t", the rest is messages in protobuf's text format, separated by lines
// "---". Otherwise the input is serialized messages, each after its size in 2 bytes. The seed
// corpus is text, which libFuzzer mutates into both forms.
#pragma once

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/text_format.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "tests/fuzz/fuzz_input.h"

namespace trunkline::test {

class NoWords : public google::protobuf::io::ErrorCollector {
  void AddError(int /*line*/, int /*column*/, const std::string& /*text*/) override {}
};

// Returns false if `bytes` is not a message of this type, or one that gRPC would not deliver
// because its text is not UTF-8.
template <typename Message>
bool ReadText(const std::string& text, Message* message) {
  NoWords no_words;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&no_words);
  return parser.ParseFromString(text, message) &&
         message->ParseFromString(message->SerializeAsString());
}

template <typename Message>
std::vector<Message> ReadMessages(FuzzInput input) {
  google::protobuf::SetLogHandler(nullptr);
  // More messages find nothing new.
  constexpr size_t kMost = 20;
  std::vector<Message> messages;
  const auto keep = [&](bool good, Message& message) {
    if (good) messages.push_back(std::move(message));
  };
  if (input.Byte() == 't') {
    const std::vector<std::string> texts = absl::StrSplit(input.TakeRest(), "---\n");
    for (size_t i = 0; i < std::min(texts.size(), kMost); ++i) {
      Message message;
      const bool good = ReadText(texts[i], &message);
      keep(good, message);
    }
    return messages;
  }
  for (size_t i = 0; i < kMost && !input.empty(); ++i) {
    Message message;
    const bool good = message.ParseFromString(input.Take(input.Number(2)));
    keep(good, message);
  }
  return messages;
}

}  // namespace trunkline::test
