// The carrier of one endpoint of a service in `direct` mode. It pools nothing and has only
// addresses. Confined to its worker's loop.
#pragma once

#include <utility>

#include "dataplane/route/carrier.h"

namespace trunkline {

class DirectCarrier final : public Carrier {
 public:
  bool usable() const override { return !targets().empty(); }
  bool idle() const override { return !used(); }

 private:
  void OnTarget() override {
    if (!std::exchange(had_target_, true)) NotifyUsers();
  }

  bool had_target_ = false;
};

}  // namespace trunkline
