#include "agent/proc/psi.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace trunkline {

absl::StatusOr<double> ParsePressure(absl::string_view text) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, "some avg10=")) continue;
    double percent = 0;
    const absl::string_view number = line.substr(0, line.find(' '));
    if (!absl::SimpleAtod(number, &percent) || !(percent >= 0 && percent <= 100)) {
      return absl::InvalidArgumentError("pressure: avg10 is not a percentage");
    }
    return percent / 100;
  }
  return absl::InvalidArgumentError("pressure: no line \"some avg10=\"");
}

}  // namespace trunkline
