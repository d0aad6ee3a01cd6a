#include "trunkctl/top.h"

#include <algorithm>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "trunkctl/client.h"
#include "trunkctl/commands.h"
#include "trunkctl/json.h"
#include "trunkctl/render_top.h"
#include "trunkctl/screen.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

grpc::Status Ask(ControllerClient& client, const std::string& service, v1::WeightTable* table) {
  v1::GetWeightsRequest request;
  request.set_service(service);
  v1::GetWeightsResponse response;
  const grpc::Status status = client.Try([&](grpc::ClientContext* context) {
    return client.weights().GetWeights(context, request, &response);
  });
  if (status.ok()) *table = response.table();
  return status;
}

int PrintTables(ControllerClient& client, const Output& output, const TopOptions& options) {
  TopFrame frame{.controller = options.controller, .order = options.order};
  for (int printed = 0;; absl::SleepFor(options.interval)) {
    v1::WeightTable table;
    const grpc::Status status = Ask(client, options.service, &table);
    if (!status.ok()) return client.Explain(status);
    std::cout << (output.json ? Json(table, /*one_line=*/true) : RenderTop(table, frame) + "\n")
              << std::flush;
    if (++printed == options.count || !std::cout.good()) return kOk;
  }
}

// Returns false if the key ends the command.
bool ApplyKey(char key, TopOrder* order) {
  switch (key) {
    case 'q':
      return false;
    case 'u':
      *order = TopOrder::kUtilization;
      break;
    case 'w':
      *order = TopOrder::kWeight;
      break;
    case 't':
      *order = TopOrder::kWait;
      break;
    case 'n':
      *order = TopOrder::kName;
      break;
    default:
      break;
  }
  return true;
}

int DrawTables(ControllerClient& client, const TopOptions& options) {
  v1::WeightTable table;
  // An error at the start belongs on the shell's screen.
  if (const grpc::Status status = Ask(client, options.service, &table); !status.ok()) {
    return client.Explain(status);
  }
  Screen screen;
  TopFrame frame{.controller = options.controller, .order = options.order};
  MonotonicTime asked_at = MonotonicNow();
  for (;;) {
    const auto [lines, columns] = screen.size();
    frame.lines = lines > 1 ? lines - 1 : lines;
    frame.columns = columns;
    screen.Draw(RenderTop(table, frame) +
                "keys: q quits; order by u utilization, w weight, t wait, n name\n");
    if (!std::cout.good()) return kOk;
    const absl::Duration rest = asked_at + options.interval - MonotonicNow();
    const Screen::Event event = screen.Await(std::max(rest, absl::ZeroDuration()));
    if (event.kind == Screen::Event::Kind::kQuit) return kOk;
    if (event.kind == Screen::Event::Kind::kKey && !ApplyKey(event.key, &frame.order)) return kOk;
    if (event.kind != Screen::Event::Kind::kTimeout) continue;
    const grpc::Status status = Ask(client, options.service, &table);
    asked_at = MonotonicNow();
    frame.trouble = status.ok() ? ""
                                : absl::StrCat(
                                      "this table is old, because the controller does not "
                                      "answer: ",
                                      status.error_message());
  }
}

}  // namespace

int RunTop(ControllerClient& client, const Output& output, const TopOptions& options) {
  if (output.json || options.count > 0 || !Screen::Available()) {
    return PrintTables(client, output, options);
  }
  return DrawTables(client, options);
}

}  // namespace trunkline
