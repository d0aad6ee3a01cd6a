#include "dataplane/route/answer_times.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

void AnswerTimes::SetEndpoints(std::span<const size_t> kept) {
  std::vector<Mean> means(kept.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] != SIZE_MAX) means[i] = means_[kept[i]];
  }
  means_ = std::move(means);
}

void AnswerTimes::OnAnswer(size_t i, absl::Duration time, MonotonicTime now) {
  Mean& mean = means_[i];
  const double seconds = absl::ToDoubleSeconds(time);
  const double weight =
      mean.known ? -std::expm1(-absl::FDivDuration(now - mean.answered_at, kMemory)) : 1;
  mean.seconds += weight * (seconds - mean.seconds);
  mean.known = true;
  mean.answered_at = now;
}

void AnswerTimes::Drift(MonotonicTime now) {
  const double moved =
      -std::expm1(-absl::FDivDuration(now - std::exchange(drifted_at_, now), kDrift));
  double sum = 0;
  size_t known = 0;
  for (const Mean& mean : means_) {
    if (!mean.known) continue;
    sum += mean.seconds;
    ++known;
  }
  if (known == 0) return;
  all_ = sum / static_cast<double>(known);
  for (Mean& mean : means_) {
    if (now - mean.answered_at > kMemory) mean.seconds += moved * (all_ - mean.seconds);
  }
}

double AnswerTimes::Seconds(size_t i) const {
  if (means_[i].known) return means_[i].seconds;
  return all_ > 0 ? all_ : 1;
}

}  // namespace trunkline
