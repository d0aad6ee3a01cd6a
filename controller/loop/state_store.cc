#include "controller/loop/state_store.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "controller/core/stored_state.h"
#include "controller/wire/snapshot.h"
#include "trunkline/v1/controller_state.pb.h"

namespace trunkline {
namespace {

constexpr char kHeading[] =
    "# Trunkline controller state, written by the controller. Edit only while it is stopped.\n";

// The shortest text that reads as the same number. TextFormat's own printer tries one precision
// after the other, which takes most of the time that a large state takes.
class ShortestNumbers : public google::protobuf::TextFormat::FastFieldValuePrinter {
 public:
  void PrintDouble(double value,
                   google::protobuf::TextFormat::BaseTextGenerator* out) const override {
    std::array<char, 32> text;
    const std::to_chars_result written = std::to_chars(text.begin(), text.end(), value);
    out->Print(text.data(), static_cast<size_t>(written.ptr - text.data()));
  }
};

// A little more than an endpoint takes in the file.
constexpr size_t kBytesPerEndpoint = 600;

// Keeps the first error only, because it causes the others.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text_.empty()) text_ = absl::StrCat(line + 1, ":", column + 1, ": ", message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

absl::Status Broken(const std::string& name, const std::string& what) {
  return absl::DataLossError(absl::StrCat(
      name, ":", what,
      ". The controller does not start with a state file that it cannot read. Restore a good copy, "
      "or move the file away to start without learned capacities, drains and pins"));
}

// Far above any capacity, weight, core count or slow start in seconds.
constexpr double kMaxNumber = 1e6;
constexpr double kMaxTheta = 100;

bool Sane(double value, double max) { return std::isfinite(value) && value >= 0 && value <= max; }

// The stages use these numbers without further checks.
bool Sane(const v1::ControllerState::Endpoint& endpoint) {
  return Sane(endpoint.capacity(), kMaxNumber) && endpoint.capacity() > 0 &&
         Sane(std::abs(endpoint.theta()), kMaxTheta) &&
         Sane(endpoint.slow_start_seconds(), kMaxNumber) && Sane(endpoint.weight(), kMaxNumber) &&
         Sane(endpoint.cores(), kMaxNumber) && Sane(endpoint.operator_capacity(), kMaxNumber);
}

std::optional<StoredConfiguration> ReadConfigured(const v1::ControllerState::Endpoint& endpoint) {
  if (!endpoint.has_configured()) return std::nullopt;
  return StoredConfiguration{endpoint.configured().address(), endpoint.configured().weight()};
}

StoredEndpoint ReadEndpoint(const v1::ControllerState::Endpoint& endpoint) {
  return {.key = {endpoint.service(), endpoint.endpoint_id()},
          .address = endpoint.address(),
          .address_configured = endpoint.address_configured(),
          .configured = ReadConfigured(endpoint),
          .mode = ReadMode(endpoint.mode()),
          .trunk_address = endpoint.trunk_address(),
          .server_address = endpoint.server_address(),
          .agent_id = endpoint.agent_id(),
          .agent_boot_id = endpoint.agent_boot_id(),
          .server_boot_id = endpoint.server_boot_id(),
          .cores = endpoint.cores(),
          .operator_capacity = endpoint.operator_capacity(),
          .capacity = endpoint.capacity(),
          .theta = endpoint.theta(),
          .learned = endpoint.learned(),
          .slow_start_seconds = endpoint.slow_start_seconds(),
          .weight = endpoint.weight()};
}

void WriteEndpoint(const StoredEndpoint& endpoint, v1::ControllerState::Endpoint* out) {
  out->set_service(endpoint.key.service);
  out->set_endpoint_id(endpoint.key.endpoint_id);
  out->set_address(endpoint.address);
  out->set_address_configured(endpoint.address_configured);
  if (endpoint.configured.has_value()) {
    out->mutable_configured()->set_address(endpoint.configured->address);
    const double weight = endpoint.configured->weight;
    if (weight > 0) out->mutable_configured()->set_weight(weight);
  }
  out->set_mode(WriteMode(endpoint.mode));
  out->set_trunk_address(endpoint.trunk_address);
  out->set_server_address(endpoint.server_address);
  out->set_agent_id(endpoint.agent_id);
  out->set_agent_boot_id(endpoint.agent_boot_id);
  out->set_server_boot_id(endpoint.server_boot_id);
  out->set_cores(endpoint.cores);
  if (endpoint.operator_capacity > 0) out->set_operator_capacity(endpoint.operator_capacity);
  out->set_capacity(endpoint.capacity);
  out->set_theta(endpoint.theta);
  out->set_learned(endpoint.learned);
  out->set_slow_start_seconds(endpoint.slow_start_seconds);
  out->set_weight(endpoint.weight);
}

}  // namespace

// Prints endpoint by endpoint, because a message of all of them would take more memory than the
// text.
std::string StateStore::ToText(const StoredState& state) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetDefaultFieldValuePrinter(new ShortestNumbers);  // takes ownership
  std::string text = kHeading;
  text.reserve(kBytesPerEndpoint * (state.endpoints.size() + 1));
  // Into a text of its own, because the printer fills all that is reserved with zeros.
  std::string part;
  const auto print = [&](const google::protobuf::Message& message) {
    printer.PrintToString(message, &part);
    text += part;
  };
  v1::ControllerState head;
  head.set_format(kFormat);
  head.mutable_snapshot()->set_epoch(state.epoch);
  head.mutable_snapshot()->set_version(state.version);
  head.set_orderly(state.orderly);
  print(head);
  printer.SetInitialIndentLevel(1);
  v1::ControllerState::Endpoint written;
  for (const StoredEndpoint& endpoint : state.endpoints) {
    written.Clear();
    WriteEndpoint(endpoint, &written);
    text += "endpoints {\n";
    print(written);
    text += "}\n";
  }
  printer.SetInitialIndentLevel(0);
  v1::ControllerState rest;
  for (const StoredAdmin& admin : state.admin) {
    v1::ControllerState::Admin* out = rest.add_admin();
    out->set_service(admin.key.service);
    out->set_endpoint_id(admin.key.endpoint_id);
    out->set_draining(admin.draining);
    if (admin.pin.has_value()) out->set_pinned_weight(*admin.pin);
  }
  for (const StoredCapacity& departed : state.departed) {
    v1::ControllerState::Departed* out = rest.add_departed();
    out->set_service(departed.key.service);
    out->set_endpoint_id(departed.key.endpoint_id);
    out->set_capacity(departed.capacity);
  }
  rest.set_cluster_id(state.cluster_id);
  rest.set_complete(true);
  print(rest);
  return text;
}

absl::StatusOr<StoredState> StateStore::FromText(const std::string& text, const std::string& name) {
  v1::ControllerState message;
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(text, &message)) return Broken(name, error.text());
  if (message.format() != kFormat) {
    return Broken(name, absl::StrCat(" format: expected ", kFormat, "; got ", message.format()));
  }
  if (!message.complete()) return Broken(name, " the end is missing: the file is truncated");
  if (message.snapshot().epoch() == 0) return Broken(name, " snapshot.epoch is missing");
  StoredState state;
  state.cluster_id = message.cluster_id();
  state.epoch = message.snapshot().epoch();
  state.version = message.snapshot().version();
  state.orderly = message.orderly();
  for (const v1::ControllerState::Endpoint& endpoint : message.endpoints()) {
    if (!Sane(endpoint)) {
      return Broken(name, absl::StrCat(" endpoint ", endpoint.service(), "/",
                                       endpoint.endpoint_id(), " has a number out of range"));
    }
    state.endpoints.push_back(ReadEndpoint(endpoint));
  }
  for (const v1::ControllerState::Admin& admin : message.admin()) {
    const bool is_sane = Sane(admin.pinned_weight(), kMaxNumber) &&
                         admin.has_pinned_weight() == (admin.pinned_weight() > 0);
    if (!is_sane) {
      return Broken(name, absl::StrCat(" pinned_weight of ", admin.service(), "/",
                                       admin.endpoint_id(), " is out of range"));
    }
    state.admin.push_back({{admin.service(), admin.endpoint_id()}, admin.draining(), {}});
    if (admin.has_pinned_weight()) state.admin.back().pin = admin.pinned_weight();
  }
  for (const v1::ControllerState::Departed& departed : message.departed()) {
    if (!Sane(departed.capacity(), kMaxNumber)) continue;
    state.departed.push_back({{departed.service(), departed.endpoint_id()}, departed.capacity()});
  }
  return state;
}

absl::StatusOr<std::optional<StoredState>> StateStore::Load() const {
  absl::StatusOr<std::string> text = ReadFile(path_);
  if (absl::IsNotFound(text.status())) return std::optional<StoredState>();
  if (!text.ok()) return text.status();
  absl::StatusOr<StoredState> state = FromText(*text, path_);
  if (!state.ok()) return state.status();
  return std::optional<StoredState>(*std::move(state));
}

absl::Status StateStore::Save(const StoredState& state) const {
  return write_(path_, ToText(state));
}

}  // namespace trunkline
