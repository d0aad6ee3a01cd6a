#include "trunkctl/commands.h"

#include <google/protobuf/util/json_util.h>

#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/config/config.h"
#include "controller/wire/config.h"
#include "trunkctl/render.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

std::string Json(const google::protobuf::Message& message, bool one_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = !one_line;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return "{}\n";
  if (one_line) text += "\n";
  return text;
}

// Calls and prints the answer.
template <typename Response, typename Rpc>
int Show(ControllerClient& client, const Output& output, const Rpc& rpc) {
  Response response;
  const int code =
      client.Call([&](grpc::ClientContext* context) { return rpc(context, &response); });
  if (code != kOk) return code;
  std::cout << (output.json ? Json(response, /*one_line=*/false) : Render(response));
  return kOk;
}

// Calls and prints since when the order holds.
template <typename Rpc>
int Order(ControllerClient& client, const Output& output, const std::string& what, const Rpc& rpc) {
  v1::AdminResponse response;
  const int code =
      client.Call([&](grpc::ClientContext* context) { return rpc(context, &response); });
  if (code != kOk) return code;
  if (output.json) {
    std::cout << Json(response, /*one_line=*/false);
  } else {
    std::cout << what << " from snapshot " << Render(response.id()) << " on\n";
  }
  return kOk;
}

template <typename Request>
std::string NameOf(const Request& request) {
  return absl::StrCat(request.service(), "/", request.endpoint_id());
}

}  // namespace

int ShowWeights(ControllerClient& client, const Output& output, const std::string& service) {
  v1::GetWeightsRequest request;
  request.set_service(service);
  return Show<v1::WeightTable>(client, output, [&](auto* context, auto* response) {
    return client.weights().GetWeights(context, request, response);
  });
}

int ShowEndpoints(ControllerClient& client, const Output& output, const std::string& service) {
  v1::ListEndpointsRequest request;
  request.set_service(service);
  return Show<v1::ListEndpointsResponse>(client, output, [&](auto* context, auto* response) {
    return client.admin().ListEndpoints(context, request, response);
  });
}

int ShowServices(ControllerClient& client, const Output& output) {
  return Show<v1::ListServicesResponse>(client, output, [&](auto* context, auto* response) {
    return client.admin().ListServices(context, {}, response);
  });
}

int ShowProxies(ControllerClient& client, const Output& output) {
  return Show<v1::ListProxiesResponse>(client, output, [&](auto* context, auto* response) {
    return client.admin().ListProxies(context, {}, response);
  });
}

int ShowSnapshot(ControllerClient& client, const Output& output) {
  return Show<v1::Snapshot>(client, output, [&](auto* context, auto* response) {
    return client.admin().GetSnapshot(context, {}, response);
  });
}

int ExplainEndpoint(ControllerClient& client, const Output& output,
                    const v1::ExplainWeightRequest& request) {
  return Show<v1::Explanation>(client, output, [&](auto* context, auto* response) {
    return client.weights().ExplainWeight(context, request, response);
  });
}

int WatchWeights(ControllerClient& client, const Output& output, const std::string& service,
                 int count) {
  if (const int code = client.Connect(); code != kOk) return code;
  grpc::ClientContext context;
  v1::GetWeightsRequest request;
  request.set_service(service);
  const auto stream = client.weights().WatchWeights(&context, request);
  v1::WeightTable table;
  for (int seen = 1; stream->Read(&table); ++seen) {
    std::cout << (output.json ? Json(table, /*one_line=*/true) : Render(table) + "\n")
              << std::flush;
    if (seen != count) continue;
    context.TryCancel();
    stream->Finish();
    return kOk;
  }
  return client.Explain(stream->Finish());
}

int Drain(ControllerClient& client, const Output& output, const v1::EndpointRequest& request) {
  return Order(client, output, NameOf(request) + " takes no new flows",
               [&](auto* context, auto* response) {
                 return client.admin().Drain(context, request, response);
               });
}

int Undrain(ControllerClient& client, const Output& output, const v1::EndpointRequest& request) {
  return Order(client, output, NameOf(request) + " takes new flows",
               [&](auto* context, auto* response) {
                 return client.admin().Undrain(context, request, response);
               });
}

int Pin(ControllerClient& client, const Output& output, const v1::PinRequest& request) {
  return Order(client, output, absl::StrCat(NameOf(request), " has the weight ", request.weight()),
               [&](auto* context, auto* response) {
                 return client.admin().Pin(context, request, response);
               });
}

int Unpin(ControllerClient& client, const Output& output, const v1::EndpointRequest& request) {
  return Order(client, output, NameOf(request) + " has its service's weights again",
               [&](auto* context, auto* response) {
                 return client.admin().Unpin(context, request, response);
               });
}

int CheckFile(const std::string& path, const std::string& kind) {
  v1::ControllerConfig controller;
  v1::ProxyConfig proxy;
  v1::AgentConfig agent;
  google::protobuf::Message* message = &controller;
  if (kind == "proxy") message = &proxy;
  if (kind == "agent") message = &agent;
  if (absl::Status loaded = LoadConfigFile(path, message); !loaded.ok()) {
    std::cerr << loaded.message() << "\n";
    return kUsage;
  }
  if (kind == "controller") {
    const absl::Status whole = ReadControllerConfig(controller).status();
    if (!whole.ok()) {
      for (absl::string_view line : absl::StrSplit(whole.message(), '\n')) {
        std::cerr << path << ": " << line << "\n";
      }
      return kUsage;
    }
  }
  std::cout << path << ": ok\n";
  return kOk;
}

}  // namespace trunkline
