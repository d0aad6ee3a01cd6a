// Configuration files. Input: "c", "p" or "a" (controller, proxy, agent) as the first byte, then
// YAML.
#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/config/config.h"
#include "tests/fuzz/fuzz_input.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

std::unique_ptr<google::protobuf::Message> EmptyConfig(uint8_t kind) {
  if (kind == 'p') return std::make_unique<v1::ProxyConfig>();
  if (kind == 'a') return std::make_unique<v1::AgentConfig>();
  return std::make_unique<v1::ControllerConfig>();
}

// Each line of the error names a place in the file, and an invalid file leaves the message empty.
void CheckRefusal(const absl::Status& status, const google::protobuf::Message& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StartsWith(status.message(), "f.yaml:")) << status.message();
  EXPECT_EQ(message.ByteSizeLong(), 0u);
}

// The message can be serialized, so all text in it is UTF-8.
void CheckMessage(const google::protobuf::Message& message) {
  const std::unique_ptr<google::protobuf::Message> copy(message.New());
  EXPECT_TRUE(copy->ParseFromString(message.SerializeAsString()));
  EXPECT_EQ(copy->SerializeAsString(), message.SerializeAsString());
}

}  // namespace
}  // namespace trunkline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  test::FuzzInput input(data, size);
  const std::unique_ptr<google::protobuf::Message> message = EmptyConfig(input.Byte());
  const absl::Status status = ParseConfig(input.TakeRest(), "f.yaml", message.get());
  if (status.ok()) {
    CheckMessage(*message);
  } else {
    CheckRefusal(status, *message);
  }
  return 0;
}
