//! The sentences of the verdict and of the diagnosis.

macro_rules! texts {
    ($($name:ident: $english:literal, $vietnamese:literal;)*) => {
        /// Something the report says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Text {
            $($name,)*
        }

        impl Text {
            /// Every text.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The templates in English and Vietnamese.
            pub const fn templates(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$name => ($english, $vietnamese),)*
                }
            }
        }
    };
}

texts! {
    RunsOf: "{0} of {1} runs",
        "{0} trên {1} lượt chạy";

    // The verdict.
    NothingYet: "No run has been evaluated yet ({0}).",
        "Chưa có lượt chạy nào được đánh giá ({0}).";
    NoRuns: "no runs",
        "không có lượt chạy";
    Take: "Take trial {0}{1}: validation loss {2}{3} at epoch {4}{5}.",
        "Nên chọn lượt {0}{1}: mất mát kiểm định {2}{3} tại epoch {4}{5}.";
    Interval: " (95 % {0} to {1})",
        " (95 %: {0} đến {1})";
    BelowBase: ", {0} below the base model",
        ", thấp hơn mô hình gốc {0}";
    NotBelowBase: ", which is no better than the base model ({0})",
        ", không tốt hơn mô hình gốc ({0})";
    ClearlyBest: "It is better than every other run beyond chance; the next, trial {0}, is {1} behind.",
        "Lượt này tốt hơn mọi lượt khác một cách rõ ràng; lượt kế tiếp là {0}, kém {1}.";
    TiedChosen: "{0} of {1} configurations cannot be told apart at the top (95 %); of the closest it {2}. The lowest loss, trial {3}, is {4} lower.",
        "{0} trên {1} cấu hình ở đầu bảng không phân biệt được với nhau (95 %); trong số gần nhất lượt này {2}. Mất mát thấp nhất là lượt {3}, thấp hơn {4}.";
    TiedChosenOfSeeds: "{0} of {1} configurations cannot be told apart at the top (95 %); of the closest it {2}. Over its seeds, the configuration of trial {3} is lowest, by {4}.",
        "{0} trên {1} cấu hình ở đầu bảng không phân biệt được với nhau (95 %); trong số gần nhất lượt này {2}. Tính trung bình qua các seed, cấu hình của lượt {3} thấp nhất, thấp hơn {4}.";
    TiedBest: "{0} of {1} configurations cannot be told apart at the top (95 %); of the closest it {2}.",
        "{0} trên {1} cấu hình ở đầu bảng không phân biệt được với nhau (95 %); trong số gần nhất lượt này {2}.";
    HasLowestRank: "has the lowest rank",
        "có rank thấp nhất";
    HasSmallestGap: "has the smallest gap at the lowest rank",
        "có khoảng cách nhỏ nhất ở rank thấp nhất";
    ForgetsLeast: "forgets least at the lowest rank",
        "quên ít nhất ở rank thấp nhất";
    HasLowestLoss: "is as simple as any and has the lowest loss",
        "đơn giản nhất và có mất mát thấp nhất";
    Expect: "As the lowest of {0} losses that one is about {1} too low: expect {2} on new rows.",
        "Là giá trị thấp nhất trong {0} giá trị nên nó thấp hơn thực tế khoảng {1}: hãy kỳ vọng {2} trên dữ liệu mới.";
    Test: "On {0} held-out test rows: {1} ± {2}.",
        "Trên {0} dòng kiểm tra để riêng: {1} ± {2}.";
    TestWithBase: "On {0} held-out test rows: {1} ± {2}; the base model has {3}.",
        "Trên {0} dòng kiểm tra để riêng: {1} ± {2}; mô hình gốc là {3}.";
    BaseTied: "It cannot be told from the base model: the sweep has not shown that training helps.",
        "Không phân biệt được với mô hình gốc: lần dò này chưa cho thấy huấn luyện có ích.";
    RunnerUp: "Second: trial {0}{1}, {2} behind.",
        "Thứ hai: lượt {0}{1}, kém {2}.";
    RunnerUpEqual: "Second: trial {0}{1}, {2} behind, less than one standard error: take them as equal.",
        "Thứ hai: lượt {0}{1}, kém {2}, chưa đến một sai số chuẩn: coi như bằng nhau.";
    SeedSpread: "Between seeds the loss differs by {0} (standard deviation), which the comparison includes.",
        "Giữa các seed, mất mát lệch nhau {0} (độ lệch chuẩn); phép so sánh đã tính đến điều này.";
    BestIsFlagged: "It is flagged {0}: {1}",
        "Lượt này bị đánh dấu {0}: {1}";
    Flags: "Of {0} runs: {1}.",
        "Trong {0} lượt chạy: {1}.";

    // Sweep-wide findings: what was seen, and what to do.
    Overfitting: "{0} runs overfit, typically after epoch {1}; the worst (trial {2}) lost {3} of its validation loss by the end.",
        "{0} lượt bị quá khớp, thường sau epoch {1}; lượt tệ nhất ({2}) đến cuối mất {3} mất mát kiểm định.";
    OverfittingAdvice: "Train for about {0} epochs or lower the learning rate; the adapters kept are those of the best epoch.",
        "Huấn luyện khoảng {0} epoch hoặc giảm learning rate; adapter được giữ là của epoch tốt nhất.";
    Underfitting: "{0} runs levelled off far behind the best run.",
        "{0} lượt chững lại khi còn cách xa lượt tốt nhất.";
    UnderfittingAdvice: "Give them no more time: what they lack is rank, learning rate or layers (see the best run's settings).",
        "Đừng cho thêm thời gian: chúng thiếu rank, learning rate hoặc số lớp gắn adapter (xem cấu hình của lượt tốt nhất).";
    RateTooHigh: "At learning_rate {0} and above, {1} of {2} runs diverged, spiked, stayed above the base model or came less far than at a lower rate.",
        "Từ learning_rate {0} trở lên, {1} trên {2} lượt phân kỳ, có đỉnh nhọn, ở trên mô hình gốc hoặc kém hơn khi dùng learning rate thấp hơn.";
    RateTooHighAdvice: "Search below {0}.",
        "Hãy tìm dưới {0}.";
    RateTooLow: "At learning_rate {0} and below, {1} of {2} runs were still falling at the end, far behind the best.",
        "Từ learning_rate {0} trở xuống, {1} trên {2} lượt vẫn đang giảm khi kết thúc và còn xa lượt tốt nhất.";
    RateTooLowAdvice: "Search above {0}, or train for more epochs.",
        "Hãy tìm trên {0}, hoặc huấn luyện nhiều epoch hơn.";
    RankSaturates: "Rank saturates at {0} ({1}): higher ranks are not better beyond chance ({2}).",
        "Rank bão hòa ở {0} ({1}): rank cao hơn không tốt hơn một cách rõ ràng ({2}).";
    RankSaturatesAdvice: "Keep rank {0}: more rank costs memory and, if anything, widens the gap.",
        "Giữ rank {0}: tăng rank tốn bộ nhớ và chỉ làm khoảng cách rộng hơn.";
    RankTooSmall: "The highest rank tried, {0}, is better beyond chance than any lower one ({1}).",
        "Rank cao nhất đã thử, {0}, tốt hơn rõ ràng so với mọi rank thấp hơn ({1}).";
    RankTooSmallAdvice: "Try higher ranks.",
        "Hãy thử rank cao hơn.";
    RankHelpsAdvice: "It is not for want of capacity: rank {0} could hold the rows {1} times over. Tune learning_rate, lora_alpha and epochs at rank {0} instead of raising it.",
        "Không phải vì thiếu dung lượng: rank {0} chứa được dữ liệu gấp {1} lần. Hãy chỉnh learning_rate, lora_alpha và số epoch ở rank {0} thay vì tăng rank.";
    Capacity: " The training rows hold about {0} bits for the base model; rank {1} can hold about {2} (2 bits a parameter).",
        " Dữ liệu huấn luyện chứa khoảng {0} bit đối với mô hình gốc; rank {1} chứa được khoảng {2} (2 bit mỗi tham số).";
    BatchMatters: "batch_size {0} is better beyond chance than the others ({1}).",
        "batch_size {0} tốt hơn rõ ràng so với các giá trị khác ({1}).";
    BatchMattersAdvice: "Keep batch_size {0}.",
        "Giữ batch_size {0}.";
    BatchSmallerAdvice: "Keep batch_size {0}; it is the smallest tried, so try smaller ones too (they also need less memory).",
        "Giữ batch_size {0}; đây là giá trị nhỏ nhất đã thử, nên thử nhỏ hơn nữa (cũng tốn ít bộ nhớ hơn).";
    BatchEqual: "The batch sizes cannot be told apart ({0}).",
        "Không phân biệt được các batch size ({0}).";
    BatchEqualAdvice: "Take batch_size {0} for the fewest steps, or {1} for the least memory.",
        "Chọn batch_size {0} để ít bước nhất, hoặc {1} để tốn ít bộ nhớ nhất.";
    ByForm: "{0}: {1}, untouched {2}",
        "{0}: {1}, chưa huấn luyện {2}";
    QuantizationFree: "After training, the forms of the base cannot be told apart ({0}).",
        "Sau khi huấn luyện không phân biệt được các dạng của mô hình gốc ({0}).";
    QuantizationCosts: "Training on the base as {0} is better beyond chance than as {1} ({2}).",
        "Huấn luyện trên mô hình gốc dạng {0} tốt hơn rõ ràng so với dạng {1} ({2}).";
    QuantizationAdvice: "Take quantization {0}: of the forms that are not worse it takes the least memory.",
        "Chọn quantization {0}: trong các dạng không kém hơn, dạng này tốn ít bộ nhớ nhất.";
    MoreEpochs: "The chosen run was at its best at its last evaluation and still falling.",
        "Lượt được chọn đạt tốt nhất ở lần đánh giá cuối và vẫn đang giảm.";
    MoreEpochsAdvice: "Train for more epochs (now {0}).",
        "Huấn luyện nhiều epoch hơn (hiện là {0}).";
    EdgeHighest: "The best {0} ({1}) is the highest tried.",
        "{0} tốt nhất ({1}) là giá trị cao nhất đã thử.";
    EdgeLowest: "The best {0} ({1}) is the lowest tried.",
        "{0} tốt nhất ({1}) là giá trị thấp nhất đã thử.";
    EdgeAdvice: "The optimum may lie beyond: extend the search space.",
        "Điểm tối ưu có thể nằm ngoài: hãy mở rộng không gian tìm kiếm.";
    Forgets: "{0} runs forget what the base model could do; the chosen run's retention loss changes by {1}.",
        "{0} lượt quên những gì mô hình gốc làm được; retention loss của lượt được chọn thay đổi {1}.";
    ForgetsAdvice: "Mix rows of the old skill into the training data, or lower the learning rate or the rank.",
        "Trộn thêm dữ liệu của kỹ năng cũ vào tập huấn luyện, hoặc giảm learning rate hay rank.";
    WorseThanBase: "{0} runs never got below the base model's validation loss of {1}.",
        "{0} lượt không bao giờ xuống dưới mất mát kiểm định {1} của mô hình gốc.";
    WorseThanBaseAdvice: "Do not use their adapters; lower the learning rate.",
        "Đừng dùng adapter của chúng; hãy giảm learning rate.";
    AllWorseAdvice: "No adapter of this sweep should be used: check the data's format and lower the learning rate.",
        "Không nên dùng adapter nào của lần dò này: hãy kiểm tra định dạng dữ liệu và giảm learning rate.";
    TooSmall: "{0} validation examples are too few to tell {1} of {2} configurations apart.",
        "{0} mẫu kiểm định là quá ít để phân biệt {1} trên {2} cấu hình.";
    TooSmallAdvice: "Add validation rows, or be content with a tie.",
        "Thêm dòng kiểm định, hoặc chấp nhận kết quả ngang nhau.";
    TooSmallNeeded: "About {0} would tell the best from the next, unless they are equally good.",
        "Cần khoảng {0} mẫu để phân biệt lượt tốt nhất với lượt kế tiếp, trừ khi chúng thật sự ngang nhau.";
    Leakage: "{0} validation rows are also training rows, and {1} more share their prompt with one.",
        "{0} dòng kiểm định cũng có trong tập huấn luyện, và {1} dòng khác trùng câu hỏi.";
    LeakageAdvice: "Remove them (`lorasweep check` lists their lines): their losses look better than new rows' would.",
        "Hãy bỏ chúng (`lorasweep check` liệt kê số dòng): mất mát của chúng đẹp hơn so với dữ liệu mới.";
    ByValue: "{0}: {1}, gap {2}",
        "{0}: {1}, khoảng cách {2}";

    // One run.
    BaseModel: "The base model without an adapter: what a run must beat.",
        "Mô hình gốc không có adapter: mức mà một lượt chạy phải vượt qua.";
    BaseNotEvaluated: "The base model has not been evaluated yet.",
        "Mô hình gốc chưa được đánh giá.";
    NotBegun: "Not begun yet.",
        "Chưa bắt đầu.";
    RunningUnevaluated: "Running, not evaluated yet.",
        "Đang chạy, chưa được đánh giá.";
    Running: "Running; validation loss {0} at epoch {1}{2}.",
        "Đang chạy; mất mát kiểm định {0} tại epoch {1}{2}.";
    Rising: ", rising since epoch {0} while the gap widens",
        ", tăng từ epoch {0} trong khi khoảng cách rộng ra";
    Failed: "Could not be trained: {0}.",
        "Không huấn luyện được: {0}.";
    Diverged: "Diverged at step {0}: {1}.",
        "Phân kỳ tại bước {0}: {1}.";
    TooSlow: "Validation loss was still falling at the end (by {0} over the last third of the steps), but only {1} of the best run's improvement over the base model was reached.",
        "Mất mát kiểm định vẫn giảm khi kết thúc ({0} trong một phần ba số bước cuối), nhưng chỉ đạt {1} mức cải thiện của lượt tốt nhất so với mô hình gốc.";
    Underfit: "Validation loss levelled off with {0} of the best run's improvement over the base model.",
        "Mất mát kiểm định chững lại khi mới đạt {0} mức cải thiện của lượt tốt nhất so với mô hình gốc.";
    EndedUnevaluated: "Ended without an evaluation.",
        "Kết thúc mà chưa được đánh giá.";
    Fine: "Validation loss {0} at epoch {1}, with a gap of {2} to the train loss.",
        "Mất mát kiểm định {0} tại epoch {1}, cách train loss {2}.";
    FineAlone: "Validation loss {0} at epoch {1}.",
        "Mất mát kiểm định {0} tại epoch {1}.";
    TargetReached: "It was stopped because it reached the target of {0}.",
        "Dừng vì đã đạt mục tiêu {0}.";
    StoppedEarly: "It was stopped early: {0}.",
        "Dừng sớm: {0}.";
    WentOn: "It was stopped at step {0} ({1}) and went on later ({2}).",
        "Đã dừng ở bước {0} ({1}) rồi chạy tiếp sau đó ({2}).";
    NeverBelowBase: "Validation loss never fell below the base model's {0}; it rose by {1} to {2} at epoch {3}, clearly from epoch {4} on{5}.",
        "Mất mát kiểm định chưa bao giờ xuống dưới mức {0} của mô hình gốc; nó tăng {1} lên {2} tại epoch {3}, rõ rệt từ epoch {4}{5}.";
    Overfit: "Validation loss was lowest at epoch {0}; its level (two evaluations in a row) rose from {1} by {2} to {3} at epoch {4}, likely from epoch {5} on{6}.",
        "Validation loss thấp nhất tại epoch {0}; mức của nó (hai lần đánh giá liên tiếp) tăng từ {1} thêm {2} lên {3} tại epoch {4}, có khả năng từ epoch {5}{6}.";
    WhileTrainLoss: ", while train loss went from {0} to {1}",
        ", trong khi train loss đi từ {0} đến {1}";
    RiseWithError: "{0} ± {1} ({2}; probability of overfitting {3})",
        "{0} ± {1} ({2}; xác suất quá khớp {3})";
    Unclear: "Whether it overfits cannot be told from these validation rows: the probability is {0}, the rise at the end {1} ± {2}.",
        "Chưa thể kết luận có quá khớp hay không từ số dòng validation này: xác suất {0}, mức tăng ở cuối {1} ± {2}.";
    TooFewToJudge: "It has too few evaluations to say whether it overfits.",
        "Có quá ít lần đánh giá để kết luận có quá khớp hay không.";
    NoteMemorizing: "From epoch {0} on it memorizes: train loss fell from {1} to {2}, validation loss went from {3} to {4}.",
        "Từ epoch {0} mô hình học thuộc lòng: train loss giảm từ {1} xuống {2}, validation loss đi từ {3} đến {4}.";
    AboveBase: "That is above the base model's {0}.",
        "Mức này cao hơn mô hình gốc ({0}).";
    NoteWorse: "Even its best evaluation ({0}) is no better than the base model ({1}).",
        "Ngay cả lần đánh giá tốt nhất ({0}) cũng không hơn mô hình gốc ({1}).";
    NoteForgetting: "The retention loss rose from {0} to {1} ({2}): the base model's skills suffer.",
        "Retention loss tăng từ {0} lên {1} ({2}): kỹ năng của mô hình gốc bị suy giảm.";
    NoteSpikes: "The training loss spiked {0} times, far beyond its usual spread: the learning rate ({1}) is at the limit.",
        "Train loss có {0} đỉnh nhọn, vượt xa mức dao động thường: learning rate ({1}) đã ở giới hạn.";
    NoteMoreEpochs: "It was still falling at its last evaluation, which is its best.",
        "Lượt này vẫn đang giảm ở lần đánh giá cuối, cũng là lần tốt nhất.";
    NoteLowerRateFurther: "Trial {0}, of the same rank and with no more steps, reached {2} at the lower learning rate {1}.",
        "Lượt {0}, cùng rank và không nhiều bước hơn, đạt {2} với learning rate thấp hơn {1}.";
    NoteHigherRateFurther: "Trial {0}, of the same rank and with no more steps, reached {2} at the higher learning rate {1}.",
        "Lượt {0}, cùng rank và không nhiều bước hơn, đạt {2} với learning rate cao hơn {1}.";
    LowerRate: "Lower the learning rate (now {0}).",
        "Giảm learning rate (hiện là {0}).";
    LowerRateNothingHelped: "Lower the learning rate (now {0}): no amount of training helped.",
        "Giảm learning rate (hiện là {0}): huấn luyện bao lâu cũng không có ích.";
    StopAt: "Stop at epoch {0}, or lower the learning rate (now {1}).",
        "Dừng ở epoch {0}, hoặc giảm learning rate (hiện là {1}).";
    RaiseRate: "Raise the learning rate (now {0}) or train for more epochs.",
        "Tăng learning rate (hiện là {0}) hoặc huấn luyện nhiều epoch hơn.";
    HigherRank: "Try a higher rank or more data.",
        "Thử rank cao hơn hoặc thêm dữ liệu.";
    ReadError: "Read the error; the sweep goes on without this run.",
        "Hãy đọc lỗi; lần dò vẫn tiếp tục mà không có lượt này.";
    MayFallFurther: "The last evaluation is the best one: more epochs may bring it further down.",
        "Lần đánh giá cuối là tốt nhất: thêm epoch có thể giảm nữa.";
    MoveTowards: "Move towards trial {0}, the best: {1}.",
        "Chuyển về phía lượt {0}, lượt tốt nhất: {1}.";
    Here: "{0} {1} (here {2})",
        "{0} {1} (ở đây {2})";
}
