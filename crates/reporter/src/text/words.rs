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
        "{0}/{1} lượt";
    AllRuns: "{0} runs",
        "{0} lượt";
    OneRun: "1 run",
        "1 lượt";
    OnlyRun: "The only run",
        "Lượt duy nhất";

    // Words of the terminal's table.
    Chosen: "chosen",
        "được chọn";
    Tied: "tied",
        "ngang";
    Forgetful: "forgets",
        "quên";
    OutsideSpace: "outside the space",
        "ngoài không gian";
    Stopped: "stopped",
        "dừng sớm";
    MoreRows: "{0} more in ranking.csv",
        "còn {0} dòng nữa trong ranking.csv";
    MoreFindings: "What to do next: {0} more in report.html.",
        "Nên làm gì tiếp theo: còn {0} mục trong report.html.";
    MoreFailures: "{0} more in report.html",
        "còn {0} lỗi nữa trong report.html";

    // The verdict.
    NothingYet: "No run has been evaluated yet ({0}).",
        "Chưa có lượt chạy nào được đánh giá ({0}).";
    NoRuns: "no runs",
        "không có lượt chạy";
    Take: "Take trial {0}{1}: validation loss {2}{3} at epoch {4}{5}.",
        "Nên chọn lượt {0}{1}: validation loss {2}{3} tại epoch {4}{5}.";
    Interval: " (95 % {0} to {1})",
        " (95 %: từ {0} đến {1})";
    BelowBase: ", {0} below the base model",
        ", thấp hơn mô hình gốc một khoảng {0}";
    NotBelowBase: ", which is no better than the base model ({0})",
        ", không tốt hơn mô hình gốc ({0})";
    ClearlyBest: "It is better than every other configuration, and expected to stay so with other seeds (95 %); the next, trial {0}, is {1} behind.",
        "Cấu hình này tốt hơn mọi cấu hình khác và dự kiến vẫn vậy với seed khác (95 %); lượt kế tiếp là {0}, kém {1}.";
    TiedChosen: "{0} of {1} configurations cannot be told apart at the top (95 %); of the closest it {2}. The lowest loss, trial {3}, is {4} lower.",
        "{0}/{1} cấu hình đầu bảng không phân biệt được với nhau (95 %); trong số gần nhất, lượt này {2}. Loss thấp nhất là của lượt {3}, thấp hơn {4}.";
    TiedChosenOfSeeds: "{0} of {1} configurations cannot be told apart at the top (95 %); of the closest it {2}. Over its seeds, the configuration of trial {3} is lowest, by {4}.",
        "{0}/{1} cấu hình đầu bảng không phân biệt được với nhau (95 %); trong số gần nhất, lượt này {2}. Tính trung bình qua các seed, cấu hình của lượt {3} thấp nhất, thấp hơn {4}.";
    TiedBest: "{0} of {1} configurations cannot be told apart at the top (95 %); of the closest it {2}.",
        "{0}/{1} cấu hình đầu bảng không phân biệt được với nhau (95 %); trong số gần nhất, lượt này {2}.";
    BestOnRows: "On rows like these and with these seeds, trial {0} is better than every other run; with other seeds that may turn around.",
        "Trên dữ liệu như thế này và với các seed này, lượt {0} tốt hơn mọi lượt khác; với seed khác kết quả có thể đảo ngược.";
    FewerOnRows: "With these seeds alone, on rows like these, {0} would be tied; the rest is the seeds' share.",
        "Chỉ với các seed này, trên dữ liệu như thế này, sẽ có {0} cấu hình ngang nhau; phần còn lại là do seed.";
    BestSoFar: "Configurations that have ended: {0}; of these trial {1} has the lowest validation loss. Runs that have not ended are not compared.",
        "Số cấu hình đã kết thúc: {0}; trong đó lượt {1} có validation loss thấp nhất. Các lượt chưa kết thúc chưa được so sánh.";
    BestScoreSoFar: "Configurations that have ended: {0}; of these trial {1} has the best {2}. Runs that have not ended are not compared.",
        "Số cấu hình đã kết thúc: {0}; trong đó lượt {1} có {2} tốt nhất. Các lượt chưa kết thúc chưa được so sánh.";
    ScoreOfChoice: "Its {0} is {1}{2}; the base model's is {3}.",
        "{0} của lượt này là {1}{2}; của mô hình gốc là {3}.";
    ScoreOfChoiceAlone: "Its {0} is {1}{2}.",
        "{0} của lượt này là {1}{2}.";
    LossAgrees: "It has the lowest validation loss, too.",
        "Lượt này cũng có validation loss thấp nhất.";
    LossDiffers: "By loss alone one would take trial {0} at epoch {1}: its validation loss is {2} lower, its {3} differs by {4}.",
        "Nếu chỉ xét loss thì chọn lượt {0} tại epoch {1}: validation loss thấp hơn {2}, {3} chênh {4}.";
    LossDiffersAlone: "By loss alone one would take trial {0} at epoch {1}: its validation loss is {2} lower.",
        "Nếu chỉ xét loss thì chọn lượt {0} tại epoch {1}: validation loss thấp hơn {2}.";
    HasBestScore: "is as simple as any and has the best {0}",
        "đơn giản không kém lượt nào và có {0} tốt nhất";
    TiedChosenByScore: "{0} of {1} configurations cannot be told apart at the top (95 %); of the closest it {2}. The best {3}, of trial {4}, is better by {5}.",
        "{0}/{1} cấu hình đầu bảng không phân biệt được với nhau (95 %); trong số gần nhất, lượt này {2}. {3} tốt nhất là của lượt {4}, hơn {5}.";
    SeedOfScore: "Another seed moves {0} by about {1} (standard deviation), which the comparison includes.",
        "Seed khác làm {0} lệch khoảng {1} (độ lệch chuẩn); phép so sánh đã tính điều này.";
    ExpectScore: "As the best of {0} values, {1} is too good by about {2}: expect {3} on new rows.",
        "Là giá trị tốt nhất trong {0} giá trị nên {1} tốt hơn thực tế khoảng {2}: với dữ liệu mới, dự kiến {3}.";
    Preliminary: "Preliminary: {0} of {1} runs have ended (in training: {2}, waiting: {3}); the rest may change everything below.",
        "Tạm thời: {0}/{1} lượt đã kết thúc (đang chạy: {2}, đang chờ: {3}); các lượt còn lại có thể thay đổi mọi kết luận dưới đây.";
    PreliminaryMoreToCome: "Preliminary: of the runs proposed so far all have ended ({0}), but the sweep has not; more may be proposed.",
        "Tạm thời: mọi lượt đã đề xuất đều kết thúc ({0}), nhưng sweep thì chưa; có thể còn đề xuất thêm.";
    StoppedRuns: "Stopped early: {0} of {1} runs. Each is judged by what it had reached, not by what it would have.",
        "Dừng sớm: {0}/{1} lượt. Mỗi lượt được đánh giá theo mức đã đạt, không theo mức lẽ ra có thể đạt.";
    HasLowestRank: "has the lowest rank",
        "có rank thấp nhất";
    HasSmallestGap: "has the smallest gap at the lowest rank",
        "có gap nhỏ nhất ở rank thấp nhất";
    ForgetsLeast: "forgets least at the lowest rank",
        "quên ít nhất ở rank thấp nhất";
    HasLowestLoss: "is as simple as any and has the lowest loss",
        "đơn giản ngang các lượt khác và có loss thấp nhất";
    Expect: "Choosing among {0} by these rows makes the chosen loss look about {1} too low: expect {2} on new rows.",
        "Vì được chọn trong {0} cấu hình trên chính dữ liệu này, loss trông thấp hơn thực tế khoảng {1}: với dữ liệu mới, dự kiến khoảng {2}.";
    ExpectOfSeeds: "Choosing among {0} by these rows makes the mean over its seeds, {3}, look about {1} too low: expect {2} on new rows.",
        "Vì được chọn trong {0} cấu hình trên chính dữ liệu này, trung bình qua các seed ({3}) trông thấp hơn thực tế khoảng {1}: với dữ liệu mới, dự kiến khoảng {2}.";
    ExpectWithSeeds: "The same settings under another seed: expect {0} on new rows (95 % {1} to {2}).",
        "Cùng cấu hình với seed khác: dự kiến {0} trên dữ liệu mới (95 %: {1} đến {2}).";
    Test: "On {0} held-out test rows: {1} ± {2}.",
        "Trên {0} dòng test để riêng: {1} ± {2}.";
    TestWithBase: "On {0} held-out test rows: {1} ± {2}; the base model has {3}.",
        "Trên {0} dòng test để riêng: {1} ± {2}; mô hình gốc: {3}.";
    BaseTied: "It cannot be told from the base model: the sweep has not shown that training helps.",
        "Không phân biệt được với mô hình gốc: sweep này chưa cho thấy huấn luyện có ích.";
    RunnerUp: "Second: trial {0}{1}, {2} behind.",
        "Thứ hai: lượt {0}{1}, kém {2}.";
    RunnerUpEqual: "Second: trial {0}{1}, {2} behind, less than one standard error: take them as equal.",
        "Thứ hai: lượt {0}{1}, kém {2}, chưa đến một sai số chuẩn: xem như ngang nhau.";
    ExpectedShort: "{0}; under another seed {1} (95 % {2} to {3})",
        "{0}; với seed khác {1} (95 %: từ {2} đến {3})";
    SeedSpread: "Between seeds the loss differs by about {0} (standard deviation, by the repeated runs and what seeds did in earlier sweeps), which the comparison includes.",
        "Giữa các seed, loss lệch nhau khoảng {0} (độ lệch chuẩn, theo các lượt lặp lại và các sweep trước đây); phép so sánh đã tính điều này.";
    SeedEstimate: "No configuration was trained under a second seed: by an estimate from near configurations and from earlier replicated runs, seeds move a loss by {0} (standard deviation), which the comparison includes.",
        "Chưa cấu hình nào được huấn luyện với seed thứ hai: ước tính từ các cấu hình lân cận và từ các lượt lặp lại trước đây, seed làm loss lệch {0} (độ lệch chuẩn); phép so sánh đã tính điều này.";
    BestIsFlagged: "It is flagged {0}: {1}",
        "Lượt này có trạng thái {0}: {1}";
    Flags: "Of {0}: {1}.",
        "Trong {0}: {1}.";

    // Sweep-wide findings: what was seen, and what to do.
    Overfitting: "{0} overfit, typically after epoch {1}; the validation loss of the worst (trial {2}) rose by {3} until the end.",
        "{0} bị overfit, thường sau epoch {1}; lượt tệ nhất ({2}) có validation loss tăng {3} cho đến cuối.";
    OverfittingAdvice: "Stop at about epoch {0} or lower the learning rate; the adapters kept are those of the best epoch.",
        "Dừng ở khoảng epoch {0} hoặc giảm learning rate; adapter được giữ lại là của epoch tốt nhất.";
    Underfitting: "{0} ended far behind the best run and fell by little or nothing at the end.",
        "{0} kết thúc khi còn cách xa lượt tốt nhất và về cuối hầu như không giảm nữa.";
    UnderfittingAdvice: "More of the same training would help little: see each run's advice for what it lacks compared with the best.",
        "Huấn luyện thêm như cũ sẽ ít giúp ích: xem lời khuyên của từng lượt để biết còn thiếu gì so với lượt tốt nhất.";
    RateTooHigh: "At learning_rate {0} and above, {1} of {2} runs diverged, spiked, stayed above the base model or improved less than at a lower rate.",
        "Từ learning_rate {0} trở lên, {1}/{2} lượt phân kỳ, loss tăng vọt, ở trên mô hình gốc hoặc giảm được ít hơn so với learning rate thấp hơn.";
    RateTooHighAdvice: "Search below {0}.",
        "Hãy thử giá trị nhỏ hơn {0}.";
    RateTooLow: "At learning_rate {0} and below, {1} of {2} runs improved less than at a higher rate, or were still falling far behind the best.",
        "Từ learning_rate {0} trở xuống, {1}/{2} lượt giảm được ít hơn so với learning rate cao hơn, hoặc vẫn đang giảm và còn xa lượt tốt nhất.";
    RateTooLowAdvice: "Search above {0}, or train for more epochs.",
        "Hãy thử giá trị lớn hơn {0}, hoặc huấn luyện nhiều epoch hơn.";
    RankSaturates: "At the same other settings, ranks above {0} are not better beyond chance ({1}).",
        "Với các thiết lập khác giống nhau, rank trên {0} không tốt hơn có ý nghĩa thống kê ({1}).";
    RankSaturatesAdvice: "Of the ranks tried, take {0}: more rank costs memory and was not shown to lower the validation loss.",
        "Trong các rank đã thử, hãy chọn {0}: rank cao hơn tốn bộ nhớ mà chưa cho thấy giảm được validation loss.";
    RankOpen: "Whether more rank than {0} helps is open: the chosen run has rank {1}. More seeds (`replicates`) or more validation rows would tell.",
        "Chưa rõ rank trên {0} có giúp ích không: lượt được chọn có rank {1}. Thêm seed (`replicates`) hoặc thêm dòng validation sẽ cho biết.";
    RankBetween: "No rank between {0} and {1} was tried.",
        "Chưa thử rank nào giữa {0} và {1}.";
    RankEqual: "At the same other settings, the ranks cannot be told apart ({0}).",
        "Với các thiết lập khác giống nhau, không phân biệt được các rank ({0}).";
    RankLowestAdvice: "Take rank {0}, the lowest tried; whether a lower one is enough was not tried.",
        "Chọn rank {0}, giá trị thấp nhất đã thử; chưa thử xem rank thấp hơn có đủ không.";
    RankSmallerAdvice: "Take rank {0}; it is the lowest tried and better than the others, so try lower ones too.",
        "Chọn rank {0}; đây là giá trị thấp nhất đã thử và tốt hơn các giá trị khác, nên hãy thử thấp hơn nữa.";
    RankUnclear: "Which rank is best cannot be told: no two good runs differ in the rank alone (best loss by rank: {0}).",
        "Chưa thể kết luận rank nào tốt nhất: không có hai lượt tốt nào chỉ khác nhau ở rank (loss tốt nhất theo rank: {0}).";
    UnclearAdvice: "To know it, vary {0} and keep everything else as in the best run.",
        "Muốn biết, hãy chỉ thay đổi {0} và giữ nguyên phần còn lại như lượt tốt nhất.";
    MatchedEffect: "{0} instead of {1}: {2}, 95 % {3} to {4}",
        "{0} thay cho {1}: {2}, 95 % từ {3} đến {4}";
    RankTooSmall: "At the same other settings, the highest rank tried, {0}, is better beyond chance than the lower ones ({1}).",
        "Với các thiết lập khác giống nhau, rank cao nhất đã thử, {0}, tốt hơn các rank thấp hơn có ý nghĩa thống kê ({1}).";
    RankTooSmallAdvice: "Try higher ranks.",
        "Hãy thử rank cao hơn.";
    RankHelpsAdvice: "Capacity is not the limit: rank {0} could hold the rows {1} times over. Tune learning_rate, lora_alpha and epochs at rank {0} instead of raising it.",
        "Dung lượng không phải là giới hạn: rank {0} chứa được dữ liệu gấp {1} lần. Hãy chỉnh learning_rate, lora_alpha và số epoch ở rank {0} thay vì tăng rank.";
    Capacity: " The training rows hold about {0} bits for the base model; rank {1} can hold about {2} (2 bits a parameter).",
        " Với mô hình gốc, dữ liệu huấn luyện chứa khoảng {0} bit; rank {1} chứa được khoảng {2} (2 bit mỗi tham số).";
    BatchMatters: "At the same other settings, batch_size {0} is better beyond chance than the others ({1}).",
        "Với các thiết lập khác giống nhau, batch_size {0} tốt hơn các giá trị khác có ý nghĩa thống kê ({1}).";
    BatchMattersAdvice: "Of the batch sizes tried, take {0}.",
        "Trong các batch size đã thử, hãy chọn {0}.";
    BatchSmallerAdvice: "Take batch_size {0}; it is the smallest tried, so try smaller ones too (they also need less memory).",
        "Chọn batch_size {0}; đây là giá trị nhỏ nhất đã thử, nên hãy thử nhỏ hơn nữa (cũng tốn ít bộ nhớ hơn).";
    BatchLargerAdvice: "Take batch_size {0}; it is the largest tried, so try larger ones too.",
        "Chọn batch_size {0}; đây là giá trị lớn nhất đã thử, nên hãy thử lớn hơn nữa.";
    BatchUnclear: "Which batch size is best cannot be told: no two good runs differ in it alone (best loss by batch size: {0}).",
        "Chưa thể kết luận batch size nào tốt nhất: không có hai lượt tốt nào chỉ khác nhau ở batch size (loss tốt nhất theo batch size: {0}).";
    BatchEqual: "At the same other settings, the batch sizes cannot be told apart ({0}).",
        "Với các thiết lập khác giống nhau, không phân biệt được các batch size ({0}).";
    BatchEqualAdvice: "Take batch_size {0} for the fewest steps, or {1} for the least memory.",
        "Chọn batch_size {0} để ít bước nhất, hoặc {1} để tốn ít bộ nhớ nhất.";
    ByForm: "{0}: {1}, untouched {2}",
        "{0}: {1}, chưa huấn luyện {2}";
    QuantizationFree: "After training, the forms of the base cannot be told apart ({0}).",
        "Sau khi huấn luyện không phân biệt được các dạng của mô hình gốc ({0}).";
    QuantizationCosts: "Training on the base as {0} is better beyond chance than as {1} ({2}).",
        "Huấn luyện trên mô hình gốc dạng {0} tốt hơn dạng {1} có ý nghĩa thống kê ({2}).";
    QuantizationUnclear: "Whether the form of the base matters cannot be told: no two good runs differ in it alone ({0}).",
        "Chưa thể kết luận dạng của mô hình gốc có ảnh hưởng không: không có hai lượt tốt nào chỉ khác nhau ở đó ({0}).";
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
        "Điểm tối ưu có thể nằm ngoài phạm vi đã thử: hãy mở rộng không gian tìm kiếm.";
    EdgeAdviceDrawn: "If the range goes on beyond it, more trials (`run_cap`) will look there; if it ends there, extend it (`min` or `max`).",
        "Nếu khoảng giá trị còn rộng hơn, hãy thêm lượt chạy (`run_cap`); nếu đó là biên, hãy mở rộng khoảng (`min` hoặc `max`).";
    Forgets: "{0} forgot part of what the base model could do; the chosen run's retention loss changes by {1}.",
        "{0} quên một phần những gì mô hình gốc làm được; retention loss của lượt được chọn thay đổi {1}.";
    ForgetsAdvice: "Mix rows of the old skill into the training data, or lower the learning rate or the rank.",
        "Trộn thêm dữ liệu của kỹ năng cũ vào tập huấn luyện, hoặc giảm learning rate hay rank.";
    WorseThanBase: "{0} never got below the base model's validation loss of {1}.",
        "{0} không bao giờ xuống dưới validation loss {1} của mô hình gốc.";
    WorseThanBaseAdvice: "Do not use their adapters; lower the learning rate.",
        "Đừng dùng adapter của các lượt này; hãy giảm learning rate.";
    AllWorseAdvice: "No adapter of this sweep should be used: check the data's format and lower the learning rate.",
        "Không nên dùng adapter nào của sweep này: hãy kiểm tra định dạng dữ liệu và giảm learning rate.";
    TooSmall: "{0} validation examples are too few to tell {1} of {2} configurations apart.",
        "{0} mẫu validation là quá ít để phân biệt {1}/{2} cấu hình.";
    TooSmallAdvice: "Add validation rows, or be content with a tie.",
        "Thêm dòng validation, hoặc chấp nhận kết quả ngang nhau.";
    TooSmallNeeded: "About {0} would tell the best from the next, unless they are equally good.",
        "Cần khoảng {0} mẫu để phân biệt lượt tốt nhất với lượt kế tiếp, trừ khi chúng thật sự ngang nhau.";
    SeedsDecide: "{0} configurations are tied by what a seed can do, not by the rows: with these seeds they can be told apart.",
        "{0} cấu hình ngang nhau vì ảnh hưởng của seed, không phải vì ít dữ liệu: với các seed này vẫn phân biệt được.";
    SeedsDecideAdvice: "Repeat the closest: with {0} seeds each, the best can be told from the next if the difference is real.",
        "Hãy lặp lại các cấu hình gần nhất: với {0} seed mỗi cấu hình, có thể phân biệt lượt tốt nhất với lượt kế tiếp nếu khác biệt là thật.";
    SeedsTooMany: "It would take many seeds to tell them apart: repeat the closest to be surer of the order, or take the run named above.",
        "Cần rất nhiều seed mới phân biệt được: hãy chọn lượt nêu trên, hoặc lặp lại các cấu hình gần nhất để chắc hơn.";
    Leakage: "{0} validation rows are also training rows, and {1} more share their prompt with one.",
        "{0} dòng validation cũng có trong tập huấn luyện, và {1} dòng khác trùng prompt.";
    LeakageAdvice: "Remove them (`lorasweep check` lists their lines): their losses look better than new rows' would.",
        "Hãy bỏ chúng (`lorasweep check` liệt kê số dòng): loss của chúng đẹp hơn so với dữ liệu mới.";
    ByValue: "{0}: {1}, gap {2}",
        "{0}: {1} (gap {2})";

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
        "Đang chạy; validation loss {0} tại epoch {1}{2}.";
    Rising: ", rising since epoch {0} while the gap widens",
        ", tăng từ epoch {0} trong khi gap rộng ra";
    Failed: "Could not be trained: {0}.",
        "Không huấn luyện được: {0}.";
    Diverged: "Diverged at step {0}: {1}.",
        "Phân kỳ tại bước {0}: {1}.";
    TooSlow: "Validation loss was still falling at the end (by {0} over the last third of the steps), but only {1} of the best run's improvement over the base model was reached.",
        "Validation loss vẫn đang giảm khi kết thúc ({0} trong một phần ba số bước cuối), nhưng mới đạt {1} mức cải thiện của lượt tốt nhất so với mô hình gốc.";
    Underfit: "Validation loss fell by little or nothing at the end, with {0} of the best run's improvement over the base model.",
        "Về cuối validation loss hầu như không giảm nữa, khi mới đạt {0} mức cải thiện của lượt tốt nhất so với mô hình gốc.";
    EndedUnevaluated: "Ended without an evaluation.",
        "Kết thúc mà chưa được đánh giá.";
    Fine: "Validation loss {0} at epoch {1}, with a gap of {2} to the train loss.",
        "Validation loss {0} tại epoch {1}, gap so với train loss là {2}.";
    FineAlone: "Validation loss {0} at epoch {1}.",
        "Validation loss {0} tại epoch {1}; không có train loss.";
    TargetReached: "It was stopped because it reached the target of {0}.",
        "Dừng vì đã đạt mục tiêu {0}.";
    StoppedEarly: "It was stopped early: {0}.",
        "Dừng sớm: {0}.";
    StoppedByPerson: "It was stopped by hand.",
        "Dừng theo yêu cầu.";
    DroppedOutside: "It was stopped because the sweep file no longer has its configuration.",
        "Dừng vì cấu hình này không còn trong file sweep.";
    NoteOutside: "The sweep file no longer has this configuration: the run is not compared with the others.",
        "File sweep không còn cấu hình này: lượt chạy không được so sánh với các lượt khác.";
    WentOn: "It was stopped at step {0} ({1}) and went on later ({2}).",
        "Đã dừng ở bước {0} ({1}) rồi chạy tiếp sau đó ({2}).";
    NeverBelowBase: "Validation loss never fell below the base model's {0}; it rose by {1} to {2} at epoch {3}{5}. At epoch {4} the rise first stands out from the noise.",
        "Validation loss chưa bao giờ xuống dưới mức {0} của mô hình gốc; nó tăng {1} lên {2} tại epoch {3}{5}. Từ epoch {4}, mức tăng mới vượt khỏi nhiễu.";
    Overfit: "Validation loss was lowest at epoch {0}; its level (two evaluations in a row, estimated without their noise) rose from {1} by {2} to {3} at epoch {4}{6}. At epoch {5} the rise first stands out from the noise.",
        "Validation loss thấp nhất tại epoch {0}; mức loss của hai lần đánh giá liên tiếp (ước tính, đã bỏ nhiễu) tăng từ {1} thêm {2} lên {3} tại epoch {4}{6}. Từ epoch {5}, mức tăng mới vượt khỏi nhiễu.";
    WhileTrainLoss: ", while train loss went from {0} to {1}",
        ", trong khi train loss đi từ {0} đến {1}";
    RiseWithError: "{0} ± {1} ({2}; probability of overfitting {3})",
        "{0} ± {1} ({2}; xác suất overfit {3})";
    Unclear: "Whether it overfits cannot be told from these validation rows: the probability is {0}, the rise at the end {1} ± {2}.",
        "Chưa thể kết luận có overfit hay không từ số dòng validation này: xác suất {0}, mức tăng ở cuối {1} ± {2}.";
    TooFewToJudge: "It has too few evaluations to say whether it overfits.",
        "Có quá ít lần đánh giá để kết luận có overfit hay không.";
    NoteMemorizing: "From epoch {0} on it memorizes: train loss fell from {1} to {2}, validation loss went from {3} to {4}.",
        "Từ epoch {0} mô hình học thuộc lòng: train loss giảm từ {1} xuống {2}, validation loss đi từ {3} đến {4}.";
    AboveBase: "That is above the base model's {0}.",
        "Mức này cao hơn mô hình gốc ({0}).";
    NoteWorse: "Even its best evaluation ({0}) is no better than the base model ({1}).",
        "Ngay cả lần đánh giá tốt nhất ({0}) cũng không hơn mô hình gốc ({1}).";
    NoteForgetting: "The retention loss rose from {0} to {1} ({2}): the base model's skills suffer.",
        "Retention loss tăng từ {0} lên {1} ({2}): kỹ năng của mô hình gốc bị suy giảm.";
    NoteSpikes: "The training loss spiked {0} times, far beyond its usual spread: the learning rate ({1}) is at the limit.",
        "Train loss tăng vọt {0} lần, vượt xa mức dao động thường: learning rate ({1}) đã ở giới hạn.";
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
    StopAt: "Stop at epoch {0}, where validation loss was lowest, or lower the learning rate (now {1}).",
        "Dừng ở epoch {0}, nơi validation loss thấp nhất, hoặc giảm learning rate (hiện là {1}).";
    RaiseRateAlone: "Raise the learning rate (now {0}).",
        "Tăng learning rate (hiện là {0}).";
    RaiseRate: "Raise the learning rate (now {0}) or train for more epochs.",
        "Tăng learning rate (hiện là {0}) hoặc huấn luyện nhiều epoch hơn.";
    HigherRank: "Try a higher rank or more data.",
        "Thử rank cao hơn hoặc thêm dữ liệu.";
    ReadError: "Read the error; the sweep goes on without this run.",
        "Hãy đọc lỗi; sweep vẫn tiếp tục mà không có lượt này.";
    MayFallFurther: "The last evaluation is the best one: more epochs may bring it further down.",
        "Lần đánh giá cuối là tốt nhất: huấn luyện thêm epoch có thể còn giảm nữa.";
    MoveTowards: "Trial {0}, the best, differs in one setting: {1}. Move towards it.",
        "Lượt {0}, lượt tốt nhất, chỉ khác ở một thiết lập: {1}. Hãy chuyển về phía đó.";
    MoveTowardsAny: "Move towards trial {0}, the best: {1}; which of these it is cannot be told from these two runs.",
        "Hãy chuyển về phía lượt {0}, lượt tốt nhất: {1}; chỉ với hai lượt này chưa thể biết yếu tố nào quyết định.";
    RateIsTooLow: "The learning rate is too low: at {2}, with all else the same, trial {1} reached the best loss (here {0}).",
        "Learning rate quá thấp: ở {2}, các thiết lập khác giống hệt, lượt {1} đạt loss tốt nhất (ở đây là {0}).";
    RateIsTooHigh: "Lower the learning rate (now {0}): at {2}, with all else the same, trial {1} reached the best loss.",
        "Hãy giảm learning rate (hiện là {0}): ở {2}, các thiết lập khác giống hệt, lượt {1} đạt loss tốt nhất.";
    StoppedAdvice: "It was stopped early, so that its losses say little about its settings.",
        "Lượt này bị dừng sớm nên các loss của nó nói lên rất ít về cấu hình.";
    Here: "{0} {1} (here {2})",
        "{0} {1} (ở đây là {2})";

    // Two runs side by side.
    CompareError: "standard error",
        "sai số chuẩn";
    CompareBestEpoch: "best epoch",
        "epoch tốt nhất";
    CompareSeconds: "seconds",
        "giây";
    CompareNotEnded: "Preliminary: {0} has not ended, so the two are not compared.",
        "Tạm thời: {0} chưa kết thúc nên hai lượt chưa được so sánh.";
    CompareNoneEnded: "Preliminary: neither has ended ({0}), so they are not compared.",
        "Tạm thời: cả hai lượt đều chưa kết thúc ({0}) nên chưa được so sánh.";
    CompareOtherExamples: "They were not measured on the same validation examples (or by an older version, which did not keep single losses): only their means can be set side by side.",
        "Hai lượt không được đo trên cùng các mẫu validation (hoặc được đo bởi phiên bản cũ, không lưu loss của từng mẫu): chỉ có thể đặt các giá trị trung bình cạnh nhau.";
    CompareInterval: "95 % {0} to {1}, rows and seeds",
        "95 %: từ {0} đến {1}, gồm cả dữ liệu và seed";
    CompareSeeds: "They differ in the seed alone: {0} minus {1} is {2}.",
        "Hai lượt chỉ khác seed: {0} trừ {1} bằng {2}.";
    CompareBetter: "{0} is better than {1}, and its configuration is expected to be with other seeds: {2} ({3}).",
        "{0} tốt hơn {1}, và với seed khác cấu hình này dự kiến vẫn tốt hơn: {2} ({3}).";
    CompareTied: "Tied: {0} minus {1} is {2} ({3}).",
        "Ngang nhau: {0} trừ {1} bằng {2} ({3}).";
    CompareBetterOnRows: "On rows like these, this run of {0} is better than this run of {1}; with other seeds that may turn around: {2} ({3}). Trials of both under more seeds (`replicates`) would tell.",
        "Trên dữ liệu như thế này, lượt {0} tốt hơn lượt {1}; với seed khác kết quả có thể đảo ngược: {2} ({3}). Chạy cả hai cấu hình với thêm seed (`replicates`) sẽ cho biết.";

    // Why a run was stopped, in a table.
    TargetReachedShort: "target {0} reached",
        "đã đạt mục tiêu {0}";
    StoppedByPersonShort: "stopped by a person",
        "được yêu cầu dừng";
    LeftSpaceShort: "left the search space",
        "không còn trong không gian tìm kiếm";

    // Pictures.
    PlotFlag: "flag",
        "trạng thái";
    PlotSmooth: "smooth, 95 %",
        "làm trơn, 95 %";
    PlotBaseValidation: "base, validation",
        "validation, mô hình gốc";
    PlotBestEvaluation: "best evaluation",
        "lần đánh giá tốt nhất";
    PlotOverfitting: "overfitting",
        "đoạn overfit";
    PlotTrialTitle: "Trial {0}: {1}",
        "Lượt {0}: {1}";
    PlotLoss: "loss (nats per token)",
        "loss (nat/token)";
    PlotMemorizes: "memorizes from epoch {0} on",
        "học thuộc lòng từ epoch {0}";
    PlotNoProblem: "no problem found",
        "không phát hiện vấn đề";
    PlotOverfits: "overfits (probability {0})",
        "overfit (xác suất {0})";
    PlotUnderfits: "underfits",
        "underfit";
    PlotTooSlow: "too slow",
        "quá chậm";
    PlotOverfitsAfter: "overfits after epoch {0}: {1} ({2})",
        "overfit sau epoch {0}: {1} ({2})";
    PlotNotEvaluated: "not evaluated",
        "chưa được đánh giá";
    PlotBestAt: "best {0} at epoch {1}",
        "tốt nhất {0} tại epoch {1}";
    PlotMarks: "marks",
        "ký hiệu";
    PlotBaseModel: "base model",
        "mô hình gốc";
    PlotBestRun: "best run",
        "lượt tốt nhất";
    PlotLeftOut: "; diverged runs are left out",
        "; không vẽ các lượt phân kỳ";
    PlotAllScores: "{0} of all runs",
        "{0} của mọi lượt";
    PlotLowerIsBetter: "{0}; lower is better",
        "{0}; càng thấp càng tốt";
    PlotHigherIsBetter: "{0}; higher is better",
        "{0}; càng cao càng tốt";
    PlotAllRuns: "Validation loss of all runs",
        "Validation loss của mọi lượt";
    PlotAllRunsHint: "{0}; lower is better, an upward turn is overfitting",
        "{0}; càng thấp càng tốt, đường cong quay lên là overfit";
    PlotValidationLoss: "validation loss (nats per token)",
        "validation loss (nat/token)";
    PlotAllGaps: "Generalisation gap of all runs",
        "Gap của mọi lượt";
    PlotAllGapsHint: "{0}; validation minus train loss, both in evaluation mode{1}",
        "{0}; validation loss trừ train loss, cả hai đo ở chế độ đánh giá{1}";
    PlotGap: "gap (nats per token)",
        "gap (nat/token)";
    PlotTrial: "trial {0}: {1}",
        "lượt {0}: {1}";
    PlotNoRun: "no run has been evaluated",
        "chưa có lượt nào được đánh giá";
    PlotAtBest: "at its best",
        "tại điểm tốt nhất";
    PlotRun: "run",
        "lượt";
    PlotOverfitRun: "overfit run",
        "lượt overfit";
    PlotDivergedRun: "diverged run",
        "lượt phân kỳ";
    PlotToEnd: "to its end",
        "đến cuối";
    PlotGapTitle: "Gap against validation loss",
        "Gap so với validation loss";
    PlotGapHint: "left is better; a tail to the upper right is overfitting{0}",
        "bên trái tốt hơn; đuôi kéo lên phía trên bên phải là overfit{0}";
    PlotNoTrainLoss: "the train loss was not measured",
        "train loss không được đo";
    PlotBestTrial: "best: trial {0}, {1}",
        "tốt nhất: lượt {0}, {1}";
    PlotBaseAbove: "base {0} (above)",
        "mô hình gốc {0} (ở trên)";
    PlotBaseAt: "base {0}",
        "mô hình gốc {0}";
    PlotBestAgainst: "Best validation loss against {0}",
        "Validation loss tốt nhất theo {0}";
    PlotBestAgainstHint: "each run at its best evaluation, best over the other parameters",
        "mỗi lượt tại lần đánh giá tốt nhất, tốt nhất theo các tham số khác";
    PlotRates: "learning rate (log scale)",
        "learning rate (thang log)";
    PlotRanks: "LoRA rank r (log scale)",
        "LoRA rank r (thang log)";
    PlotBestLoss: "best validation loss (nats per token)",
        "validation loss tốt nhất (nat/token)";
    PlotHeatMap: "Best validation loss by rank and learning rate",
        "Validation loss tốt nhất theo rank và learning rate";
    PlotHeatMapHint: "best over the other parameters, nats per token; brighter is better",
        "tốt nhất theo các tham số khác, nat/token; càng sáng càng tốt";
    PlotNoRuns: "no runs yet",
        "chưa có lượt nào";
    PlotCells: "cells",
        "ô";
    PlotBest: "best",
        "tốt nhất";
    PlotNotTried: "not tried",
        "chưa thử";
    PlotUnknown: "? not evaluated",
        "? chưa đánh giá";
}
