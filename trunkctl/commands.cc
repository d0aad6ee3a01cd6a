#include "trunkctl/commands.h"

#include <iostream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "common/config/config_rules.h"
#include "trunkctl/client.h"
#include "trunkctl/json.h"
#include "trunkctl/render.h"
#include "trunkctl/render_history.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/config.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

template <typename Message>
void Print(const Output& output, const Message& message) {
  std::cout << (output.json ? Json(message, /*one_line=*/false) : Render(message));
}

// Makes the call into `*response` and returns the exit code.
template <typename Response, typename Rpc>
int Fetch(ControllerClient& client, Response* response, const Rpc& rpc) {
  return client.Call([&](grpc::ClientContext* context) { return rpc(context, response); });
}

// Makes the call and prints the response.
template <typename Response, typename Rpc>
int Show(ControllerClient& client, const Output& output, const Rpc& rpc) {
  Response response;
  const int code = Fetch(client, &response, rpc);
  if (code == kOk) Print(output, response);
  return code;
}

// Makes the call and prints the first snapshot that contains the order.
template <typename Response, typename Rpc>
int Order(ControllerClient& client, const Output& output, const std::string& what, const Rpc& rpc) {
  Response response;
  const int code = Fetch(client, &response, rpc);
  if (code != kOk) return code;
  if (output.json) {
    std::cout << Json(response, /*one_line=*/false);
  } else {
    std::cout << what << " from snapshot " << Render(response.snapshot_id()) << " on\n";
  }
  return kOk;
}

template <typename Request>
Request RequestFor(const EndpointName& endpoint) {
  Request request;
  request.set_service(endpoint.service);
  request.set_endpoint_id(endpoint.endpoint_id);
  return request;
}

std::string NameOf(const EndpointName& endpoint) {
  return absl::StrCat(endpoint.service, "/", endpoint.endpoint_id);
}

template <typename Config>
int CheckFileAs(const Output& output, const std::string& path) {
  Config config;
  std::string lines;
  if (absl::Status loaded = LoadConfigFile(path, &config); !loaded.ok()) {
    lines = std::string(loaded.message());
  } else {
    for (const std::string& error : FindErrors(config)) {
      absl::StrAppend(&lines, lines.empty() ? "" : "\n", path, ": ", error);
    }
  }
  if (lines.empty()) {
    std::cout << (output.json ? "{}\n" : path + ": ok\n");
    return kOk;
  }
  if (output.json) {
    PrintError(/*json=*/true, absl::StatusCode::kInvalidArgument, lines);
  } else {
    std::cerr << lines << "\n";
  }
  return kUsage;
}

}  // namespace

int ShowWeights(ControllerClient& client, const Output& output, const std::string& service) {
  v1::GetWeightsRequest request;
  request.set_service(service);
  v1::GetWeightsResponse response;
  const int code = Fetch(client, &response, [&](auto* context, auto* out) {
    return client.weights().GetWeights(context, request, out);
  });
  if (code == kOk) Print(output, response.table());
  return code;
}

int ShowEndpoints(ControllerClient& client, const Output& output, const std::string& service) {
  v1::ListEndpointsRequest request;
  request.set_service(service);
  v1::ListEndpointsResponse all;
  do {
    v1::ListEndpointsResponse page;
    const int code = Fetch(client, &page, [&](auto* context, auto* response) {
      return client.admin().ListEndpoints(context, request, response);
    });
    if (code != kOk) return code;
    request.set_page_token(page.next_page_token());
    page.clear_next_page_token();
    all.MergeFrom(page);
  } while (!request.page_token().empty());
  Print(output, all);
  return kOk;
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
  v1::GetSnapshotResponse response;
  const int code = Fetch(client, &response, [&](auto* context, auto* out) {
    return client.admin().GetSnapshot(context, {}, out);
  });
  if (code == kOk) Print(output, response.snapshot());
  return code;
}

int ExplainEndpoint(ControllerClient& client, const Output& output, const EndpointName& endpoint) {
  const auto request = RequestFor<v1::ExplainWeightRequest>(endpoint);
  v1::ExplainWeightResponse response;
  const int code = Fetch(client, &response, [&](auto* context, auto* out) {
    return client.weights().ExplainWeight(context, request, out);
  });
  if (code == kOk) Print(output, response.explanation());
  return code;
}

int ShowHistory(ControllerClient& client, const Output& output, const EndpointName& endpoint,
                HistoryQuantity quantity) {
  auto request = RequestFor<v1::GetWeightHistoryRequest>(endpoint);
  v1::GetWeightHistoryResponse all;
  do {
    v1::GetWeightHistoryResponse page;
    const int code = Fetch(client, &page, [&](auto* context, auto* response) {
      return client.weights().GetWeightHistory(context, request, response);
    });
    if (code != kOk) return code;
    request.set_page_token(page.next_page_token());
    page.clear_next_page_token();
    all.MergeFrom(page);
  } while (!request.page_token().empty());
  std::cout << (output.json ? Json(all, /*one_line=*/false) : RenderHistory(all, quantity));
  return kOk;
}

int WatchWeights(ControllerClient& client, const Output& output, const std::string& service,
                 int count) {
  if (const int code = client.Connect(); code != kOk) return code;
  grpc::ClientContext context;
  v1::WatchWeightsRequest request;
  request.set_service(service);
  const auto stream = client.weights().WatchWeights(&context, request);
  v1::WatchWeightsResponse response;
  for (int seen = 1; stream->Read(&response); ++seen) {
    const v1::WeightTable& table = response.table();
    std::cout << (output.json ? Json(table, /*one_line=*/true) : Render(table) + "\n")
              << std::flush;
    const bool failed = !std::cout.good();
    if (seen != count && !failed) continue;
    context.TryCancel();
    stream->Finish();
    return kOk;
  }
  return client.Explain(stream->Finish());
}

int Drain(ControllerClient& client, const Output& output, const EndpointName& endpoint) {
  const auto request = RequestFor<v1::DrainRequest>(endpoint);
  return Order<v1::DrainResponse>(client, output, NameOf(endpoint) + " takes no new flows",
                                  [&](auto* context, auto* response) {
                                    return client.admin().Drain(context, request, response);
                                  });
}

int Undrain(ControllerClient& client, const Output& output, const EndpointName& endpoint) {
  const auto request = RequestFor<v1::UndrainRequest>(endpoint);
  return Order<v1::UndrainResponse>(client, output, NameOf(endpoint) + " takes new flows",
                                    [&](auto* context, auto* response) {
                                      return client.admin().Undrain(context, request, response);
                                    });
}

int Pin(ControllerClient& client, const Output& output, const EndpointName& endpoint,
        double weight) {
  auto request = RequestFor<v1::PinRequest>(endpoint);
  request.set_weight(weight);
  return Order<v1::PinResponse>(client, output,
                                absl::StrCat(NameOf(endpoint), " has the weight ", weight),
                                [&](auto* context, auto* response) {
                                  return client.admin().Pin(context, request, response);
                                });
}

int Unpin(ControllerClient& client, const Output& output, const EndpointName& endpoint) {
  const auto request = RequestFor<v1::UnpinRequest>(endpoint);
  return Order<v1::UnpinResponse>(client, output,
                                  NameOf(endpoint) + " has the weight of its service's policy",
                                  [&](auto* context, auto* response) {
                                    return client.admin().Unpin(context, request, response);
                                  });
}

int Forget(ControllerClient& client, const Output& output, const EndpointName& endpoint) {
  const auto request = RequestFor<v1::ForgetRequest>(endpoint);
  v1::ForgetResponse response;
  const int code = Fetch(client, &response, [&](auto* context, auto* out) {
    return client.admin().Forget(context, request, out);
  });
  if (code != kOk) return code;
  if (output.json) {
    std::cout << Json(response, /*one_line=*/false);
  } else {
    std::cout << response.endpoints() << " endpoints of service " << endpoint.service
              << " are forgotten from snapshot " << Render(response.snapshot_id()) << " on\n";
  }
  return kOk;
}

int Reload(ControllerClient& client, const Output& output) {
  return Order<v1::ReloadResponse>(
      client, output, "the configuration is in effect",
      [&](auto* context, auto* response) { return client.admin().Reload(context, {}, response); });
}

int CheckFile(const Output& output, const std::string& path, const std::string& kind) {
  if (kind == "proxy") return CheckFileAs<v1::ProxyConfig>(output, path);
  if (kind == "agent") return CheckFileAs<v1::AgentConfig>(output, path);
  return CheckFileAs<v1::ControllerConfig>(output, path);
}

}  // namespace trunkline
