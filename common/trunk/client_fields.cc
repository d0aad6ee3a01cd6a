#include "common/trunk/client_fields.h"

#include <cstddef>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "common/base/absl_view.h"
#include "common/http2/header_list.h"
#include "common/net/ip_port.h"
#include "common/proxy_protocol/proxy_version.h"

namespace trunkline {
namespace {

constexpr std::string_view kVersion1 = "v1";
constexpr std::string_view kVersion2 = "v2";

ProxyVersion ReadVersion(std::string_view text) {
  if (text == kVersion1) return ProxyVersion::kV1;
  return text == kVersion2 ? ProxyVersion::kV2 : ProxyVersion::kNone;
}

}  // namespace

ConnectFields DescribeClient(const ClientDescription& client) {
  if (client.version == ProxyVersion::kNone) return {};
  const std::string_view version = client.version == ProxyVersion::kV1 ? kVersion1 : kVersion2;
  return {.client = client.addresses.source.ToString(),
          .proxy_protocol =
              absl::StrCat(AbslView(version), " ", client.addresses.destination.ToString())};
}

ClientDescription ReadClient(const ConnectFields& fields) {
  const std::string_view field = fields.proxy_protocol;
  const size_t blank = field.find(' ');
  if (blank == field.npos) return {};
  const std::optional<IpPort> source = ParseIpPort(fields.client);
  const std::optional<IpPort> destination = ParseIpPort(field.substr(blank + 1));
  ClientDescription client = {.version = ReadVersion(field.substr(0, blank))};
  if (source && destination) client.addresses = {*source, *destination};
  return client;
}

}  // namespace trunkline
