using CCImage.Compression;
using CCImage.Components;

namespace CCImage.Tests.Components;

public class ExternalComponentTests
{
    [Fact]
    public void A_missing_assembly_is_a_typed_error_with_a_remedy()
    {
        ImageException error =
            Assert.Throws<ImageException>(() => ExternalComponent.Load<IExternalCodecs>("Some.Type", "the codec", () => null));
        Assert.Equal(ImageErrorId.ComponentMissing, error.Id);
        Assert.Contains("the codec", error.Message, StringComparison.Ordinal);
        Assert.Contains("bin/private", error.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void An_assembly_without_the_type_is_the_same_error() => Assert.Equal(
        ImageErrorId.ComponentMissing,
        Assert.Throws<ImageException>(
            () => ExternalComponent.Load<IExternalCodecs>("Some.Type", "the codec", () => typeof(string).Assembly)).Id);
}
