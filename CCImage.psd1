@{
    RootModule             = 'bin/CCImage.dll'
    ModuleVersion          = '0.1.0'
    GUID                   = '2f0d8c5e-5a0e-4c0b-9d4c-6a2a4b7f3e91'
    Author                 = 'The CCImage contributors'
    CompanyName            = 'CCImage'
    Copyright              = '(c) 2026 The CCImage contributors. MIT licence.'
    Description            = 'Back up folders and volumes into Apple disk images (sparse image, sparse bundle, read/write, read-only and compressed .dmg) on macOS, Linux and Windows, and inspect, convert and restore them.'
    PowerShellVersion      = '7.6'
    CompatiblePSEditions   = @('Core')
    CmdletsToExport        = @('Compress-BackupImage', 'ConvertTo-ReadOnlyImage', 'Dismount-BackupImage', 'Get-BackupImage', 'Get-BackupImageItem', 'Mount-BackupImage', 'New-BackupImage', 'Resize-BackupImage', 'Restore-BackupImage', 'Set-BackupImagePassphrase', 'Test-BackupImage', 'Test-FullFsyncSupport')
    FunctionsToExport      = @()
    VariablesToExport      = @()
    AliasesToExport        = @('Optimize-BackupImage')
    FormatsToProcess       = @('bin/CCImage.Format.ps1xml')
    PrivateData            = @{
        PSData = @{
            Tags       = @('Backup', 'DiskImage', 'dmg', 'sparsebundle', 'sparseimage', 'HFS', 'Apple', 'PSEdition_Core', 'Windows', 'Linux', 'MacOS')
            LicenseUri = 'https://opensource.org/license/mit'
        }
    }
}
