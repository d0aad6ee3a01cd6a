// Reads a parsed YAML tree into a protobuf message and collects every error instead of stopping at
// the first. Confined to one thread; reads one tree.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace google::protobuf {
class FieldDescriptor;
class Message;
}  // namespace google::protobuf

namespace trunkline {

struct ConfigError {
  int line;  // 1 is the first
  std::string text;
};

class ConfigReader {
 public:
  // `root` must be a map.
  void Read(const YAML::Node& root, google::protobuf::Message* message);

  // Returns the errors in the order of the file.
  std::vector<ConfigError> TakeErrors();

 private:
  using FieldDescriptor = google::protobuf::FieldDescriptor;
  using Message = google::protobuf::Message;

  // The position of a value: "services[0].listen", line 12.
  struct Place {
    std::string path;
    int line;
  };

  void ReadFields(const YAML::Node& map, const Place& place, Message* message);
  void ReadField(const YAML::Node& value, const Place& place, const FieldDescriptor& field,
                 Message* message);
  // Takes a scalar for a list of one scalar.
  void ReadList(const YAML::Node& value, const Place& place, const FieldDescriptor& field,
                Message* message);
  void ReadMap(const YAML::Node& value, const Place& place, const FieldDescriptor& field,
               Message* message);
  // Sets a singular field or appends to a repeated one.
  void ReadValue(const YAML::Node& value, const Place& place, const FieldDescriptor& field,
                 Message* message);
  void ReadMessage(const YAML::Node& value, const Place& place, const FieldDescriptor& field,
                   Message* message);
  void ReadScalar(const std::string& text, const Place& place, const FieldDescriptor& field,
                  Message* message);
  void ReadInteger(const std::string& text, const Place& place, const FieldDescriptor& field,
                   Message* message);
  void ReadDuration(const std::string& text, const Place& place, const FieldDescriptor& field,
                    Message* message);
  void ReadText(const std::string& text, const Place& place, const FieldDescriptor& field,
                Message* message);
  void ReportMissing(const Place& map, const Message& message,
                     const std::vector<std::string>& given);

  void Report(const Place& place, absl::string_view what);
  void ReportUnexpected(const Place& place, const FieldDescriptor& field, absl::string_view got);

  std::vector<ConfigError> errors_;
};

}  // namespace trunkline
